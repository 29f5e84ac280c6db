"""The labelled pictures of a measurement, on two sides, at the size at which the encoder was trained to see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.batch import RawBatch
from ssl_core.data.cache import Cache
from ssl_core.data.errors import DataError
from ssl_core.data.labelled import labelled_folder
from ssl_core.data.load import folder_stores, packed_stores
from ssl_core.data.scan import NO_LABEL, FolderIndex
from ssl_core.data.sources import describe
from ssl_core.data.store import FileStore, ImageStore, Progress, Unreadable
from ssl_core.spec import FolderData, ImageNetData
from ssl_core.spec.probe import MeasureSpec


@dataclass(frozen=True)
class Labelled:
    """Every image of both stores has a label in [0, len(classes))."""

    train: ImageStore
    held_out: ImageStore
    classes: tuple[str, ...]
    fingerprint: str
    split: str  # folders, stratified, or given: by the dataset's authors
    unreadable: Unreadable  # of the files decoded so far
    notes: tuple[str, ...]


def load_labelled(
    spec: MeasureSpec,
    data_root: Path,
    stored: int,
    cache: Cache | None = None,
    progress: Progress | None = None,
    files_root: Path | None = None,
) -> Labelled:
    """Read the pictures of a spec at `stored` px; its label_file lies below `files_root`. Raises DataError."""
    data = spec.data
    if isinstance(data, FolderData | ImageNetData):
        found = labelled_folder(data, spec.label_file, data_root, spec.seed, files_root)
        key = _key(found.index, found.fingerprint)
        train, held, unreadable, notes = folder_stores(data, found.index, key, stored, cache, progress)
        kept = Labelled(train, held, found.classes, found.fingerprint, found.split, unreadable, (*found.notes, *notes))
    else:
        facts = describe(data, data_root)
        train, held = packed_stores(data, data_root, stored)
        assert facts.classes is not None
        fingerprint = facts.fingerprint or describe(data, data_root).fingerprint  # "" before a download
        kept = Labelled(_labelled_part(train), _labelled_part(held), facts.classes, fingerprint, "given", [], ())
    if not len(kept.train) or not len(kept.held_out):
        raise DataError("/data", "no labelled picture could be read on one of the two sides.", "Look at the unreadable files.")
    labels = labels_of(kept.train)
    some = label_subset(labels, spec.label_fraction, spec.seed)
    return kept if len(some) == len(labels) else replace(kept, train=Some.of(kept.train, some))


def label_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """The positions of a share of each class, at least one, in order: int64 (n,).

    labels int64 (N,). With the same seed a larger share holds the smaller ones.
    """
    picked = []
    for label in torch.unique(labels).tolist():
        members = torch.nonzero(labels == label).squeeze(1)
        count = max(1, round(fraction * len(members)))
        order = np.random.default_rng([seed, label]).permutation(len(members))
        picked.append(members[torch.from_numpy(order[:count])])
    return torch.cat(picked).sort().values


def labels_of(store: ImageStore) -> Tensor:
    """int64 (len,)."""
    assert store.labels is not None
    return store.labels


class Some:
    """Some images of a store, by their numbers int64 (n,)."""

    def __init__(self, store: ImageStore, numbers: Tensor) -> None:
        self.store, self.numbers = store, numbers
        self.labels: Tensor | None = labels_of(store)[numbers]

    @classmethod
    def of(cls, store: ImageStore, numbers: Tensor) -> ImageStore:
        """Of files again a FileStore, which others know how to stream."""
        if isinstance(store, FileStore):
            paths = [store.paths[number] for number in numbers.tolist()]
            return FileStore(store.root, paths, store.size, labels_of(store)[numbers], bounds=store.bounds)
        return cls(store, numbers)

    @property
    def size(self) -> int:
        return self.store.size

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Tensor) -> Tensor:
        return self.store.batch(self.numbers[indices])


def in_order(store: ImageStore, start: int, stop: int, batch_size: int) -> Iterator[RawBatch]:
    """The images from `start` to `stop`, without those whose files cannot be read."""
    for numbers in torch.split(torch.arange(start, min(stop, len(store))), batch_size):
        if isinstance(store, FileStore):
            images, really = store.substitute(numbers)
            yield RawBatch(images[really == numbers], numbers[really == numbers])
        else:
            yield RawBatch(store.batch(numbers), numbers)


def _labelled_part(store: ImageStore) -> ImageStore:
    known = torch.nonzero(labels_of(store) != NO_LABEL).squeeze(1)
    return store if len(known) == len(store) else Some(store, known)


def _key(index: FolderIndex, fingerprint: str) -> str:
    """What the cache knows the decoded pictures by: with all pictures of a folder, what pretraining knows them by too."""
    numbers = [*index.train.numbers, *index.held_out.numbers]
    if len(numbers) == len(index.found.paths):
        return fingerprint
    return f"{fingerprint}/{sha256(np.array(sorted(numbers), np.int64).tobytes()).hexdigest()}"
