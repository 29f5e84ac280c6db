"""From a data config to stores of images: what to train on, and two labelled sides for evaluation.

load_data(data, data_root) -> Data(train, bank, queries, …)
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_core.data.cache import Cache, NoRoom
from ssl_core.data.defaults import resolve_data, stored_size
from ssl_core.data.errors import DataError
from ssl_core.data.labelled import with_labels
from ssl_core.data.machine import fits_in_memory
from ssl_core.data.moving import moved, while_growing
from ssl_core.data.prepared import prepared_stores
from ssl_core.data.scan import FolderIndex
from ssl_core.data.sources import (
    CIFAR10_FOLDER,
    STL10_BYTES,
    STL10_FOLDER,
    describe,
    digits_held_out,
    folder_below,
    index_folder,
)
from ssl_core.data.store import (
    ArrayStore,
    FileStore,
    ImageStore,
    InMemoryStore,
    Progress,
    Unreadable,
    choose,
    decode_all,
)
from ssl_core.spec import Cifar10Data, DataConfig, DigitsData, FolderData, ImageNetData, Stl10Data

LISTED = 20  # unreadable files that are named; all of them are counted


@dataclass(frozen=True)
class Data:
    """Images ready for training and evaluation. `bank` and `queries` hold labelled images where there are labels."""

    train: ImageStore
    bank: InMemoryStore | None  # a subset of train: what is known to a nearest-neighbour classifier
    queries: InMemoryStore | None  # held out
    unreadable: Unreadable  # the first LISTED
    unreadable_count: int  # of the files decoded so far; a streamed store finds more as it goes
    fingerprint: str
    classes: tuple[str, ...] | None
    held_out: int  # all of them, of which `queries` are a part
    notes: tuple[str, ...] = ()  # sentences worth a warning


def load_data(
    data: DataConfig,
    data_root: Path,
    size: int | None = None,
    progress: Progress | None = None,
    *,
    max_eval_images: int = 5000,
    seed: int = 0,
    cache: Cache | None = None,
    labels: str = "folder",
    files_root: Path | None = None,
) -> Data:
    """Read a source. `size` overrides data.size; what is still open is filled in as `resolve_data` does.

    A folder's images are prepared in the `cache` (decoded once, then mapped into memory) unless data.in_memory is "never";
    without a cache, or without room in it, they are decoded into memory if they fit, else streamed from their files.

    `bank` and `queries` are at most `max_eval_images` each, chosen by `seed`, cut to the size the network sees.
    `progress(done, total)` counts images: those trained on, then files decoded for evaluation. `labels`: "folder", or a CSV
    file, below `files_root` (default: the data root), that labels some of a folder's images, see `labelled.with_labels`. Raises
    DataError if the share of unreadable files is above `data.max_unreadable`, or if none can be read.
    """
    if size is not None:
        data = data.changed(size=size)
    if isinstance(data, FolderData | ImageNetData):
        return _folder(data, data_root, progress, max_eval_images, seed, cache, labels, files_root or data_root)
    if labels != "folder":
        hint = "Leave evaluate.labels out: it has labels of its own."
        raise DataError("/evaluate/labels", f"the images of {data.source!r} are not files that {labels!r} could name.", hint)
    facts = describe(data, data_root)
    data = resolve_data(data, facts)
    assert data.size is not None
    train, held = packed_stores(data, data_root, stored_size(data))
    if progress is not None:
        progress(len(train), len(train))
    bank, queries = (choose(side, max_eval_images, data.size, seed) for side in (train, held))
    fingerprint = facts.fingerprint or describe(data, data_root).fingerprint  # "" before a download
    return Data(train, bank, queries, [], 0, fingerprint, facts.classes, len(held))


def packed_stores(data: DataConfig, data_root: Path, stored: int) -> tuple[ImageStore, ImageStore]:
    """Both sides, to train on and held out, at `stored` px, of a source whose images are not files of their own.

    The training side is decoded into memory if it fits there; else, and on the other side, each batch is when it is asked for.
    """
    if isinstance(data, DigitsData):
        return _digits(data, stored)
    if isinstance(data, Cifar10Data):
        return _cifar10(data, data_root, stored)
    assert isinstance(data, Stl10Data)
    return _stl10(data, data_root, stored)


def _folder(
    data: FolderData | ImageNetData,
    data_root: Path,
    progress: Progress | None,
    max_eval_images: int,
    seed: int,
    cache: Cache | None,
    labels: str,
    files_root: Path,
) -> Data:
    index, facts = index_folder(data, data_root)
    if labels != "folder":
        index = with_labels(index, labels, files_root, data.held_out if isinstance(data, FolderData) else 0.1)
    resolved = resolve_data(data, facts)
    assert resolved.size is not None
    size, stored = resolved.size, stored_size(resolved)
    train, queried, unreadable, notes = folder_stores(data, index, facts.fingerprint, stored, cache, progress)
    bank = choose(train, max_eval_images, size, seed, progress)
    queries = choose(queried, max_eval_images, size, seed, progress)
    for store in (train, queried):
        if isinstance(store, FileStore):
            unreadable += [(store.paths[number], reason) for number, reason in sorted(store.unreadable.items())]
    if isinstance(train, FileStore):
        sampled = min(max_eval_images, len(train))
        _readable_enough(len(train.unreadable), sampled, unreadable, data)
    fingerprint, held = facts.fingerprint, len(index.held_out)
    return Data(train, bank, queries, unreadable[:LISTED], len(unreadable), fingerprint, index.classes, held, notes)


def folder_stores(
    data: FolderData | ImageNetData,
    index: FolderIndex,
    fingerprint: str,
    stored: int,
    cache: Cache | None,
    progress: Progress | None,
) -> tuple[ImageStore, ImageStore, Unreadable, tuple[str, ...]]:
    """Both sides of a folder at `stored` px, what could not be read so far, and sentences worth a warning.

    Mapped from the cache if there is room in it, else decoded into memory (the side to train on, if it fits), else files.
    Raises DataError if too many are unreadable.
    """
    labels, held_labels = _labels(index.train_labels), _labels(index.held_out_labels)
    unreadable: Unreadable = []
    notes: tuple[str, ...] = ()
    prepared = None
    if cache is not None and data.in_memory != "never":
        try:
            prepared = prepared_stores(cache, index, fingerprint, stored, (labels, held_labels), progress)
        except NoRoom as why:
            notes = (f"The images are not kept decoded on the disk: {why}.",)
    train: ImageStore
    queried: ImageStore
    if prepared is not None:
        train, queried, unreadable = prepared
        bad = len(index.train) - len(train)
        _readable_enough(bad, len(index.train), unreadable, data)
        if data.in_memory == "always":
            train = InMemoryStore(train.batch(torch.arange(len(train))), train.labels)
    else:
        if fits_in_memory(data.in_memory, len(index.train), stored):
            train, unreadable = decode_all(index.root, index.train, stored, labels, progress=progress, bounds=index.found.bounds)
            _readable_enough(len(unreadable), len(index.train), unreadable, data)
        else:
            train = FileStore(index.root, index.train, stored, labels, bounds=index.found.bounds)
        queried = FileStore(index.root, index.held_out, stored, held_labels, bounds=index.found.bounds)
    return train, queried, unreadable, notes


def _readable_enough(bad: int, of: int, unreadable: Unreadable, data: FolderData | ImageNetData) -> None:
    if bad and (bad == of or bad > data.max_unreadable * of):
        where, reason = unreadable[0]
        most = "" if bad == of else f", more than the {100 * data.max_unreadable:g} % of data.max_unreadable"
        what = f"{bad:,} of {of:,} images in {data.path!r} are unreadable{most}."
        raise DataError("/data/path", what, f"The first, {where}: {reason}.")


def _digits(data: DigitsData, stored: int) -> tuple[ImageStore, ImageStore]:
    """Which are held out depends on a hash of their number: scikit-learn's order is by writer."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    values = np.rint(loaded.images * (255 / 16)).astype(np.uint8)  # 0 to 16, 8×8
    images, labels = np.repeat(values[:, None], 3, axis=1), torch.from_numpy(loaded.target.astype(np.int64))
    order = sorted(range(len(values)), key=lambda number: blake2b(f"digits/{number}".encode(), digest_size=8).digest())
    held = digits_held_out(data.held_out)
    train, queried = (ArrayStore(images[part], stored, labels[part]) for part in (sorted(order[held:]), sorted(order[:held])))
    return _kept(train, data.in_memory), queried


def _cifar10(data: Cifar10Data, data_root: Path, stored: int) -> tuple[ImageStore, ImageStore]:
    from torchvision.datasets import CIFAR10  # verifies the MD5 of each file before it unpickles it

    folder = folder_below(data_root, data.path)
    download = data.download and not (folder / CIFAR10_FOLDER).is_dir()
    stores = []
    for train in (True, False):
        read = partial(CIFAR10, str(folder), train=train, download=download)
        part = _torchvision(read, data.path, folder if download else None)
        array = np.ascontiguousarray(part.data.transpose(0, 3, 1, 2))
        stores.append(ArrayStore(array, stored, torch.tensor(part.targets, dtype=torch.int64)))
    return _kept(stores[0], data.in_memory), stores[1]


def _kept(store: ArrayStore, in_memory: str) -> ImageStore:
    """Decoded into memory if it fits."""
    if not fits_in_memory(in_memory, len(store), store.size):
        return store
    return InMemoryStore(store.batch(torch.arange(len(store))), store.labels)


def _stl10(data: Stl10Data, data_root: Path, stored: int) -> tuple[ImageStore, ImageStore]:
    """Mapped from its files: raw uint8 (N, 3, columns, rows), labels 1 to 10. Only train/ has labels to train a classifier."""
    place = folder_below(data_root, data.path) / STL10_FOLDER
    if data.download and not place.is_dir():
        from torchvision.datasets import STL10

        _torchvision(partial(STL10, str(place.parent), split="train+unlabeled", download=True), data.path, place.parent)

    def mapped(name: str) -> np.memmap[Any, np.dtype[np.uint8]]:
        return np.memmap(place / name, np.uint8, "r", shape=((place / name).stat().st_size // STL10_BYTES, 3, 96, 96))

    def labelled(name: str) -> Tensor:
        return torch.from_numpy(np.fromfile(place / name, np.uint8).astype(np.int64) - 1)

    parts = [mapped("train_X.bin"), mapped("unlabeled_X.bin")]
    labels = torch.cat([labelled("train_y.bin"), torch.full((len(parts[1]),), -1)])
    held = ArrayStore(mapped("test_X.bin"), stored, labelled("test_y.bin"), transposed=True)
    count = len(labels)
    if not fits_in_memory(data.in_memory, count, stored):
        return _Joined([ArrayStore(part, stored, transposed=True) for part in parts], labels), held
    images = torch.empty((count, 3, stored, stored), dtype=torch.uint8)
    at = 0
    for part in parts:
        for start in range(0, len(part), 1024):  # in pieces: the whole would need the memory twice
            piece = ArrayStore(part, stored, transposed=True).batch(torch.arange(start, min(start + 1024, len(part))))
            images[at : at + len(piece)] = piece
            at += len(piece)
            moved()
    return InMemoryStore(images, labels), held


class _Joined:
    """Two stores, one after the other."""

    def __init__(self, stores: list[ArrayStore], labels: Tensor) -> None:
        self.stores = stores
        self.labels: Tensor | None = labels

    @property
    def size(self) -> int:
        return self.stores[0].size

    def __len__(self) -> int:
        return sum(len(store) for store in self.stores)

    def batch(self, indices: Tensor) -> Tensor:
        images = torch.empty((len(indices), 3, self.size, self.size), dtype=torch.uint8)
        first = 0
        for store in self.stores:
            mine = (indices >= first) & (indices < first + len(store))
            images[mine] = store.batch(indices[mine] - first)
            first += len(store)
        return images


def _torchvision(read: Callable[[], Any], path: str, download_to: Path | None) -> Any:
    try:
        # Archive and folder of CIFAR-10 begin with cifar-10, those of STL-10 with stl10.
        return read() if download_to is None else while_growing(read, download_to, "[cs]*10")
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
        what, hint = "cannot be read", "Unpack it once more."
        if download_to is not None:
            what, hint = "cannot be downloaded", "Without a connection, fetch the archive elsewhere and unpack it there."
        raise DataError("/data/path", f"the dataset in {path!r} {what}: {str(error).splitlines()[0]}.", hint) from error


def _labels(numbers: array[int] | None) -> Tensor | None:
    return None if numbers is None else torch.tensor(numbers, dtype=torch.int64)
