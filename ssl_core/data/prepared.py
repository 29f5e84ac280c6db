"""Both sides of a folder, to train on and held out, out of one entry of the cache."""

from __future__ import annotations

from array import array

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.cache import Cache, Prepared
from ssl_core.data.paths import Paths
from ssl_core.data.scan import FolderIndex, Scan
from ssl_core.data.store import PreparedStore, Progress, Unreadable


def prepared_stores(
    cache: Cache,
    index: FolderIndex,
    fingerprint: str,
    stored: int,
    labels: tuple[Tensor | None, Tensor | None],
    progress: Progress | None,
) -> tuple[PreparedStore, PreparedStore, Unreadable]:
    """The training images and the held-out ones at `stored` px, and what could not be read (training first).

    One entry holds both, so that another share held out, or other labels, find it ready. `labels`: of either side, int64.
    Unreadable files are left out, their labels too. Raises NoRoom.
    """
    sides = (index.train, index.held_out)
    wanted = np.union1d(*(np.asarray(side.numbers, np.int64) for side in sides))  # less than all, if train/ has other neighbours
    prepared = cache.prepared(_part(index.found, wanted), fingerprint, stored, progress or (lambda done, total: None))
    unreadable: Unreadable = []
    stores = [_store(prepared, side, wanted, known, unreadable) for side, known in zip(sides, labels, strict=True)]
    return stores[0], stores[1], unreadable


def _part(found: Scan, rows: np.ndarray) -> Scan:
    if len(rows) == len(found.paths):
        return found
    numbers = array("I", rows.tolist())
    sizes, mtimes = (array(column.typecode, (column[row] for row in numbers)) for column in (found.sizes, found.mtimes))
    return Scan(found.root, found.paths.select(numbers), sizes, mtimes, found.other_files, found.links_out, found.bounds)


def _store(prepared: Prepared, side: Paths, wanted: np.ndarray, labels: Tensor | None, unreadable: Unreadable) -> PreparedStore:
    rows = torch.from_numpy(np.searchsorted(wanted, np.asarray(side.numbers, np.int64)))
    bad = torch.isin(rows, torch.tensor(sorted(prepared.unreadable), dtype=torch.int64))
    unreadable += [(side[at], prepared.unreadable[int(rows[at])]) for at in bad.nonzero().squeeze(1).tolist()]
    return PreparedStore(prepared, rows[~bad], None if labels is None else labels[~bad])
