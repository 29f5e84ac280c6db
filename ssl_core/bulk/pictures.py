"""Pictures, decoded by processes of their own and then embedded, several batches at once, in a ring of memory that never grows.

On a CPU each thread here keeps one processor busy: first its decoder's, then its stream of the network's. No layer of the network
waits for a thread that a decoder, or another program, has just displaced. Knows no torch.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.decoder import Crashed, Decoder, decode_each
from ssl_core.data.moving import LOOK_SECONDS, moved

BATCH = 32  # pictures in one request to a decoder, and in one pass through the network


T = TypeVar("T")


@dataclass(frozen=True)
class Decoded:
    """A batch: pixels uint8 (N, size, size, 3), valid while it is worked on; why a picture has none, or None."""

    paths: Sequence[str]
    pixels: NDArray[np.uint8]
    errors: list[str | None]


class Pictures:
    """Decoders and their ring: one slot for every batch that is decoded, waits, or is looked at."""

    def __init__(self, root: Path, size: int, short_side: int, workers: int, ahead: int = 0, *, bounds: str) -> None:
        """`workers` decoders, and as many threads; `ahead`: more threads, for networks that wait for another device. Files
        are opened below `bounds` only."""
        self.root, self.size, self.short_side, self.workers, self.bounds = root, size, short_side, workers, bounds
        self.slots = 2 * (workers + ahead) + 2
        length = self.slots * BATCH * size * size * 3
        # Without a name: nothing is left behind, however this process ends.
        self._file = _nameless()
        os.ftruncate(self._file, length)
        ring = np.frombuffer(mmap.mmap(self._file, length, access=mmap.ACCESS_READ), np.uint8)
        self._ring = ring.reshape(self.slots, BATCH, size, size, 3)
        self._idle: SimpleQueue[Decoder | None] = SimpleQueue()
        self._busy: dict[int, Decoder] = {}  # by their slots
        for _ in range(workers):
            self._idle.put(None)  # started when first needed
        self._pool = ThreadPoolExecutor(workers + ahead, thread_name_prefix="embed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for _ in range(self.workers):
            decoder = self._idle.get()  # at most the time of one batch
            if decoder is not None:
                decoder.close()
        self._pool.shutdown(wait=True)
        os.close(self._file)

    def each(self, batches: Iterable[Sequence[str]], use: Callable[[Decoded], T]) -> Iterator[T]:
        """What `use`, called in threads, makes of each batch of at most BATCH paths, in order; the next are under way."""
        waiting: deque[Future[T]] = deque()
        for number, paths in enumerate(batches):
            if len(waiting) == self.slots - 1:
                yield self._waited_for(waiting.popleft())
            waiting.append(self._pool.submit(self._one, number % self.slots, paths, use))
        while waiting:
            yield self._waited_for(waiting.popleft())

    def _waited_for(self, batch: Future[T]) -> T:
        far = 0
        while not wait([batch], LOOK_SECONDS).done:
            before, far = far, sum(decoder.far for decoder in tuple(self._busy.values()))
            if far != before:
                moved()
        return batch.result()

    def _one(self, slot: int, paths: Sequence[str], use: Callable[[Decoded], T]) -> T:
        decoder = self._idle.get()
        try:
            if decoder is not None:
                self._busy[slot] = decoder
            decoder, seen = decode_each(decoder, partial(self._start, slot), slot * BATCH, self.root, paths)
        finally:
            self._busy.pop(slot, None)
            self._idle.put(decoder)
        errors = [str(each) if isinstance(each, Crashed) else each.reason for each in seen]
        return use(Decoded(paths, self._ring[slot, : len(paths)], errors))

    def _start(self, slot: int) -> Decoder:
        self._busy[slot] = decoder = Decoder(self._file, self.size, self.short_side, "packed", bounds=self.bounds)
        return decoder


def _nameless() -> int:
    """A file in memory, where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("pictures")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
