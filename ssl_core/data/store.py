"""Where images are kept for training: decoded in memory, prepared on the disk, or in their files and decoded when asked for.

Every store answers `batch(indices) -> uint8 (n, 3, S, S)`; which kind it is changes no pixel.
"""

from __future__ import annotations

import mmap
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.cache import Prepared
from ssl_core.data.errors import BadImage, DataError
from ssl_core.data.images import load_file, load_square
from ssl_core.data.machine import cpus
from ssl_core.data.moving import LOOK_SECONDS, moved

Progress = Callable[[int, int], None]  # (done, total), called from one thread
Unreadable = list[tuple[str, str]]  # (relative path, reason)

STEP = 64  # images a thread decodes at once
DROP_AFTER = 2**28  # bytes read from a mapped file between two times that its pages are let go of
TRIES = 50  # neighbours tried in place of an unreadable image


class ImageStore(Protocol):
    """Images by number. `labels` is int64 (len,) with -1 for none, or None."""

    labels: Tensor | None

    @property
    def size(self) -> int:
        """The side S of the stored squares."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor) -> Tensor:
        """uint8 (n, 3, S, S) for int64 indices (n,)."""
        ...


class InMemoryStore:
    """All images decoded: uint8 (N, 3, S, S), N·3·S² bytes."""

    def __init__(self, images: Tensor, labels: Tensor | None = None) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 (N, 3, S, S), got {images.dtype} {tuple(images.shape)}")
        self.images, self.labels = images, labels

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        return self.images.index_select(0, indices)


class DeviceStore:
    """All images on the GPU that trains on them: a batch is picked there, and nothing but its numbers travels."""

    def __init__(self, store: ImageStore, device: torch.device) -> None:
        self.labels = store.labels
        self.images = torch.empty((len(store), 3, store.size, store.size), dtype=torch.uint8, device=device)
        for part in torch.split(torch.arange(len(store)), DROP_AFTER // (3 * store.size**2) + 1):
            self.images[part[0] : part[-1] + 1] = store.batch(part).to(device)

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Tensor) -> Tensor:
        return self.images.index_select(0, indices.to(self.images.device, non_blocking=True))


def on_device(store: ImageStore, device: torch.device) -> ImageStore:
    """The store itself, or a copy of it on a GPU with room for it: at most a quarter of what is free there."""
    if device.type != "cuda" or isinstance(store, FileStore):
        return store
    free, _ = torch.cuda.mem_get_info(device)
    return DeviceStore(store, device) if len(store) * 3 * store.size**2 <= free // 4 else store


class PreparedStore:
    """Images of an entry of the cache, mapped into memory: the system reads what is asked for, and keeps what it has room for.

    Mapped pages count as this process's memory for as long as they are mapped, though the system may take them back at any
    time. They are let go of every DROP_AFTER bytes (and stay in the system's cache), so that the figure stays flat too.
    `numbers` int64 (len,): the images' rows in the entry.
    """

    def __init__(self, prepared: Prepared, numbers: Tensor, labels: Tensor | None = None) -> None:
        self._prepared, self.numbers, self.labels = prepared, numbers, labels
        self._read = 0
        with prepared.images.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not writable.*")  # nobody writes: batches are copies
            flat = torch.frombuffer(self._mapped, dtype=torch.uint8)
        self._images = flat.view(prepared.count, 3, prepared.side, prepared.side)

    @property
    def size(self) -> int:
        return self._prepared.side

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, indices: Tensor) -> Tensor:
        images = self._images.index_select(0, self.numbers[indices])
        self._read += images.numel()
        if self._read > DROP_AFTER and hasattr(mmap, "MADV_DONTNEED"):
            self._read = 0
            self._mapped.madvise(mmap.MADV_DONTNEED)
        return images


class FileStore:
    """Images in their files, decoded at each `batch`. Light to send to a worker process: paths and labels only.

    An unreadable file cannot be left out when it is found in the middle of an epoch (every rank counts on the length), so
    the next readable one takes its place; `substitute` says which, and `unreadable` collects what was passed over here.
    """

    def __init__(
        self, root: Path, paths: Sequence[str], size: int, labels: Tensor | None = None, *, bounds: str | None = None
    ) -> None:
        """`bounds`: what is not below it is not read, see reading.py; None: wherever links lead."""
        self.root, self.paths, self._size, self.labels, self.bounds = root, paths, size, labels, bounds
        self.unreadable: dict[int, str] = {}  # number: reason

    @property
    def size(self) -> int:
        return self._size

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Tensor) -> Tensor:
        return self.substitute(indices)[0]

    def substitute(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(images uint8 (n, 3, S, S), the numbers of the images that they really are, int64 (n,))."""
        images = np.empty((len(indices), 3, self._size, self._size), np.uint8)
        really = [self._load(number, images[at]) for at, number in enumerate(indices.tolist())]
        return torch.from_numpy(images), torch.tensor(really, dtype=torch.int64)

    def _load(self, number: int, into: NDArray[np.uint8]) -> int:
        for step in range(min(TRIES, len(self))):
            candidate = (number + step) % len(self)
            if candidate in self.unreadable:
                continue
            try:
                into[:] = load_file(self.root / self.paths[candidate], self._size, self.bounds).transpose(2, 0, 1)
                return candidate
            except BadImage as error:
                self.unreadable[candidate] = error.reason
        raise DataError("/data/path", f"{TRIES} images in a row are unreadable, from {self.paths[number]!r} on.")


class ArrayStore:
    """Images of one numpy array, for example a file mapped into memory: (N, 3, H, W) uint8, resized at each `batch`.

    `transposed`: the array holds columns before rows (N, 3, W, H), as STL-10's files do.
    """

    def __init__(self, array: NDArray[Any], size: int, labels: Tensor | None = None, *, transposed: bool = False) -> None:
        self.array, self._size, self.labels, self.transposed = array, size, labels, transposed

    @property
    def size(self) -> int:
        return self._size

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, indices: Tensor) -> Tensor:
        images = self.array[indices.numpy()]
        if self.transposed:
            images = images.transpose(0, 1, 3, 2)
        if images.shape[2:] != (self._size, self._size):
            squares = [load_square(image.transpose(1, 2, 0), self._size, self._size) for image in images]
            images = np.stack(squares).transpose(0, 3, 1, 2) if squares else np.empty((0, 3, self._size, self._size), np.uint8)
        return torch.from_numpy(np.ascontiguousarray(images))


def decode_all(
    root: Path,
    paths: Sequence[str],
    size: int,
    labels: Tensor | None = None,
    *,
    progress: Progress | None = None,
    threads: int | None = None,
    bounds: str | None = None,
) -> tuple[InMemoryStore, Unreadable]:
    """Decode files into memory on a pool of threads (Pillow decodes and resizes without holding Python's lock).

    Unreadable files are left out, their labels too, and returned. Order is kept.
    """
    count = len(paths)
    images = torch.empty((count, 3, size, size), dtype=torch.uint8)
    into = images.numpy()
    reasons: dict[int, str] = {}

    lock, done = threading.Lock(), 0

    def decode_some(start: int) -> None:
        nonlocal done
        for number in range(start, min(start + STEP, count)):
            try:
                into[number] = load_file(root / paths[number], size, bounds).transpose(2, 0, 1)
            except BadImage as error:
                reasons[number] = error.reason
            with lock:
                done += 1

    with ThreadPoolExecutor(threads or cpus(), thread_name_prefix="decode") as pool:
        parts, told = [pool.submit(decode_some, start) for start in range(0, count, STEP)], 0
        try:
            for part in parts:
                ended = False
                while not ended:
                    ended = bool(wait([part], LOOK_SECONDS).done)
                    before, told = told, done
                    if told > before:
                        moved()
                    if progress is not None:
                        progress(told, count)
                part.result()
        finally:
            for part in parts:
                part.cancel()  # of those that wait, if what was told has raised
    if not reasons:
        return InMemoryStore(images, labels), []
    kept = torch.tensor([number for number in range(count) if number not in reasons], dtype=torch.int64)
    for to, number in enumerate(kept.tolist()):  # in place: a copy would need the memory twice
        if to != number:
            images[to] = images[number]
    store = InMemoryStore(images[: len(kept)], None if labels is None else labels[kept])
    return store, [(paths[number], reasons[number]) for number in sorted(reasons)]


def center(images: Tensor, size: int) -> Tensor:
    """The central `size` pixels of (N, C, S, S): the same pixels as `load_square(size=size, short_side=S)`."""
    inset = (images.shape[-1] - size) // 2
    return images[..., inset : inset + size, inset : inset + size]


def choose(
    store: ImageStore, at_most: int, size: int, seed: int, progress: Progress | None = None, *, any_label: bool = False
) -> InMemoryStore | None:
    """At most so many labelled images of a store (any, if it has no labels, or with `any_label`): a function of the seed.

    Returned in the store's order, cut to their central `size`. None if there is none. `progress` hears of files decoded.
    """
    eligible = torch.arange(len(store)) if store.labels is None or any_label else torch.nonzero(store.labels >= 0).squeeze(1)
    if len(eligible) == 0:
        return None
    order = torch.randperm(len(eligible), generator=torch.Generator().manual_seed(seed))[:at_most]
    picked = eligible[order.sort().values]
    labels = None if store.labels is None else store.labels[picked]
    if not isinstance(store, FileStore):
        return InMemoryStore(center(store.batch(picked), size).contiguous(), labels)
    paths = [store.paths[number] for number in picked.tolist()]
    decoded, unreadable = decode_all(store.root, paths, store.size, labels, progress=progress, bounds=store.bounds)
    bad = {path for path, _ in unreadable}
    for number, path in zip(picked.tolist(), paths, strict=True):
        if path in bad:
            store.unreadable[number] = dict(unreadable)[path]
    return InMemoryStore(center(decoded.images, size).contiguous(), decoded.labels) if len(decoded) else None
