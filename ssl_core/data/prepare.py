"""Decode a folder once: a file of squares, uint8 (N, 3, S, S), and beside it what was true of the files they came from.

    images.u8    the squares, one after the other; an unreadable file's is black and never used
    files.npy    of each file, as it was read: size, mtime, content hash (FILE)
    paths        their paths, each ended by a zero byte
    entry.json   what all this is of; written last

A preparation that is stopped or killed is continued: what is whole is noted every SYNC_SECONDS, after it is on the disk.
Rows whose file has not changed since an earlier preparation of the same folder are copied from there. Knows no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.decoder import UNKNOWN, Crashed, Decoder, Seen, decode_each, hash_of, write_rows
from ssl_core.data.machine import cpus
from ssl_core.data.moving import LOOK_SECONDS, moved
from ssl_core.data.paths import Paths
from ssl_core.data.scan import Scan
from ssl_core.durable import write_atomically

IMAGES, FILES, PATHS, ENTRY = "images.u8", "files.npy", "paths", "entry.json"
DONE, REASONS = "done.npy", "reasons.json"  # of a preparation that is under way
FILE = np.dtype([("size", "<u8"), ("mtime", "<i8"), ("hash", "<u8")])
NEW = -1
CHUNK = 128  # files of one request; whole chunks are what a preparation that was cut short keeps
SYNC_SECONDS = 10.0
PROGRESS_SECONDS = 0.5
PIECE = 2**30  # bytes of room that are taken at once

Progress = Callable[[int, int], None]
Files = NDArray[Any]  # (N,) of FILE


@dataclass(frozen=True)
class Earlier:
    """A finished preparation whose rows may be taken over."""

    folder: Path
    paths: Paths
    files: Files
    unreadable: dict[int, str]


def prepare(folder: Path, found: Scan, side: int, about: dict[str, Any], earlier: Earlier | None, progress: Progress) -> None:
    """Fill `folder`, which may hold the beginning of the same work, and make it durable. Raises OSError, e.g. without room."""
    count, row_bytes = len(found.paths), 3 * side * side
    chunks = -(-count // CHUNK)
    files, done, reasons = _begun(folder, count, chunks)
    with (folder / IMAGES).open("r+b" if (folder / IMAGES).exists() else "w+b") as images:
        _reserve(images.fileno(), count * row_bytes)
        work = _Work(folder, found, side, files, reasons, earlier, images.fileno())
        synced = said = time.monotonic()
        far = 0
        try:
            with closing(work.run([number for number in range(chunks) if not done[number]])) as finished:
                for number in finished:
                    if number is not None:
                        done[number] = True
                    before, far = far, max(far, int(done.sum()) * CHUNK + work.far)
                    if far > before:
                        moved()
                    now = time.monotonic()
                    if now - synced >= SYNC_SECONDS:
                        synced = now
                        _note(folder, images.fileno(), files, done, reasons)
                    if now - said >= PROGRESS_SECONDS:
                        said = now
                        progress(min(far, count), count)  # may raise: the run is to stop
        except BaseException:
            with suppress(OSError):
                _note(folder, images.fileno(), files, done, reasons)
            raise
        os.fsync(images.fileno())
    write_atomically(folder / PATHS, lambda file: file.writelines(os.fsencode(each) + b"\0" for each in found.paths))
    write_atomically(folder / FILES, lambda file: np.save(file, files))
    entry = {**about, "count": count, "side": side, "unreadable": sorted(reasons.items())}
    write_atomically(folder / ENTRY, lambda file: file.write(json.dumps(entry).encode()))
    for name in (DONE, REASONS):
        (folder / name).unlink(missing_ok=True)
    progress(count, count)


def _begun(folder: Path, count: int, chunks: int) -> tuple[Files, NDArray[np.bool_], dict[int, str]]:
    """What an earlier, interrupted call has noted; nothing of it if any part is missing or does not fit."""
    try:
        files, done = np.load(folder / FILES), np.load(folder / DONE)
        reasons = {int(row): str(why) for row, why in json.loads((folder / REASONS).read_bytes())}
        if files.shape == (count,) and files.dtype == FILE and done.shape == (chunks,) and (folder / IMAGES).exists():
            return files, done, reasons
    except (OSError, ValueError, EOFError, TypeError):
        pass
    return np.zeros(count, FILE), np.zeros(chunks, np.bool_), {}


def _note(folder: Path, images: int, files: Files, done: NDArray[np.bool_], reasons: dict[int, str]) -> None:
    """The order matters: a chunk that is noted as done has its pixels, hashes and reasons on the disk."""
    os.fsync(images)
    write_atomically(folder / FILES, lambda file: np.save(file, files))
    write_atomically(folder / REASONS, lambda file: file.write(json.dumps(sorted(reasons.items())).encode()))
    write_atomically(folder / DONE, lambda file: np.save(file, done))


def _reserve(file: int, size: int) -> None:
    """Take the room at once: better refused now than after an hour. Where it has to be written to, that lasts."""
    for start in range(0, size, PIECE) if hasattr(os, "posix_fallocate") else ():
        os.posix_fallocate(file, start, min(PIECE, size - start))
        moved()
    os.ftruncate(file, size)


def _unchanged(found: Scan, earlier: Earlier | None) -> NDArray[np.int64]:
    """(N,): the row in `earlier` of each file that has not changed, NEW for the others.

    Both lists of paths are sorted, so one walk along them suffices.
    """
    rows = np.full(len(found.paths), NEW)
    at = 0
    for row, path in enumerate(found.paths if earlier is not None else ()):
        assert earlier is not None
        while at < len(earlier.paths) and earlier.paths[at] < path:
            at += 1
        if at == len(earlier.paths):
            break
        known = earlier.files[at]
        if earlier.paths[at] != path or known["size"] != found.sizes[row] or known["hash"] == UNKNOWN:
            continue
        if known["mtime"] == found.mtimes[row]:
            rows[row] = at
            continue
        if known["hash"] == hash_of(found.root / path, found.bounds):
            rows[row] = at
        moved()
    return rows


class _Work:
    """The chunks, shared out among decoders."""

    def __init__(
        self,
        folder: Path,
        found: Scan,
        side: int,
        files: Files,
        reasons: dict[int, str],
        earlier: Earlier | None,
        images: int,
    ) -> None:
        self.folder, self.found, self.side, self.files, self.reasons = folder, found, side, files, reasons
        self.earlier, self.images = earlier, images
        self.copied = _unchanged(found, earlier)
        self.source = None if earlier is None else (earlier.folder / IMAGES).open("rb")
        self.idle: SimpleQueue[Decoder | None] = SimpleQueue()
        self.busy: dict[int, Decoder] = {}  # by the chunk that each is at

    @property
    def far(self) -> int:
        """Files that are decoded of chunks that are not done."""
        return sum(decoder.far for decoder in tuple(self.busy.values()))

    def run(self, todo: list[int]) -> Generator[int | None]:
        """Does chunks and yields their numbers as they are done; None when none was for a while, so that the caller may look."""
        workers = max(1, min(cpus(), len(todo)))
        for _ in range(workers):
            self.idle.put(None)  # started when first needed
        pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
        waiting: set[Future[int]] = set()
        try:
            for number in todo:
                waiting.add(pool.submit(self._chunk, number))
                while len(waiting) >= 2 * workers:
                    finished, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                    yield from self._results(finished)
            while waiting:
                finished, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
                yield from self._results(finished)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            while not self.idle.empty():
                decoder = self.idle.get()
                if decoder is not None:
                    decoder.close()
            if self.source is not None:
                self.source.close()

    @staticmethod
    def _results(finished: set[Future[int]]) -> Iterator[int | None]:
        yield from (each.result() for each in finished)
        if not finished:
            yield None

    def _chunk(self, number: int) -> int:
        rows = range(number * CHUNK, min((number + 1) * CHUNK, len(self.found.paths)))
        for row in rows:
            if self.copied[row] != NEW:
                self._copy(row, int(self.copied[row]))
        decoder = self.idle.get()
        try:
            for part in _runs([row for row in rows if self.copied[row] == NEW]):
                decoder = self._decode(decoder, part, number)
        finally:
            self.busy.pop(number, None)
            self.idle.put(decoder)
        return number

    def _start(self, number: int) -> Decoder:
        self.busy[number] = decoder = Decoder(self.folder / IMAGES, self.side, bounds=self.found.bounds)
        return decoder

    def _decode(self, decoder: Decoder | None, rows: list[int], number: int) -> Decoder | None:
        """Decode consecutive rows of a chunk."""
        paths = [self.found.paths[row] for row in rows]
        start = partial(self._start, number)
        if decoder is not None:
            self.busy[number] = decoder
        decoder, seen = decode_each(decoder, start, rows[0], self.found.root, paths)
        for row, path, each in zip(rows, paths, seen, strict=True):
            if isinstance(each, Crashed):
                known_by = hash_of(self.found.root / path, self.found.bounds)
                each = Seen(self.found.sizes[row], self.found.mtimes[row], known_by, str(each))
            known = each.hash != UNKNOWN  # else it could not be opened; what the scan saw of it stands in
            self.files[row] = (
                each.size if known else self.found.sizes[row],
                each.mtime if known else self.found.mtimes[row],
                each.hash,
            )
            if each.reason is not None:
                self.reasons[row] = each.reason
        return decoder

    def _copy(self, row: int, old: int) -> None:
        assert self.earlier is not None and self.source is not None
        size = 3 * self.side**2
        data = os.pread(self.source.fileno(), size, old * size)
        write_rows(self.images, memoryview(data), row * size)
        known = self.earlier.files[old]
        self.files[row] = (known["size"], self.found.mtimes[row], known["hash"])
        if old in self.earlier.unreadable:
            self.reasons[row] = self.earlier.unreadable[old]


def _runs(rows: list[int]) -> Iterator[list[int]]:
    """Consecutive numbers, run by run."""
    run: list[int] = []
    for row in rows:
        if run and row != run[-1] + 1:
            yield run
            run = []
        run.append(row)
    if run:
        yield run
