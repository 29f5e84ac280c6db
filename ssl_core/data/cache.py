"""Prepared data, shared by the jobs of a machine: each folder is decoded once for each size at which it is kept.

    Cache(folder, limit).prepared(found, fingerprint, side, progress) -> Prepared

The key of an entry is the data's fingerprint and the size. The entry knows of each file its size, mtime and content hash, so
that a changed folder is noticed: files with a new mtime are hashed, and if one's content has changed, or files came or went,
the entry is made anew, with the rows of unchanged files copied instead of decoded.

    CACHE/<key>/            an entry (prepare.py), whole from the moment it is there: it was renamed into its place
    CACHE/.<key>.partial/   one that is being made, or was; it is continued
    CACHE/<key>.lock        held by the process that makes it, which counts in it how it moves; the others wait

Entries unused for longest go first when the limit (bytes, of all entries) or the disk asks for it, those in use never.
Knows no torch.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.data.decoder import UNKNOWN, hash_of
from ssl_core.data.moving import heard_by, moved
from ssl_core.data.paths import Paths
from ssl_core.data.prepare import ENTRY, FILES, IMAGES, PATHS, Earlier, Files, Progress, prepare
from ssl_core.data.scan import Scan
from ssl_core.durable import sync_folder, write_atomically

FORMAT = 1  # of an entry; also raised when the decoding of pictures changes
POLL_SECONDS = 0.5
_IN_USE = "in-use"
_OURS = re.compile(r"[0-9a-f]{32}|\.[0-9a-f]{32}\.(partial|old)")


class NoRoom(Exception):
    """The data are larger than the cache, or than what is left of the disk: stream them."""


class _Lease:
    """Says that an entry is in use, for as long as this object, or the process, lives. Raises OSError if there is none."""

    def __init__(self, place: Path) -> None:
        self._file = os.open(place / _IN_USE, os.O_RDONLY)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class _Counted:
    """Writes into a lock's file, now and then, how often something has moved."""

    def __init__(self, file: int) -> None:
        self._file, self._count, self._said = file, 0, 0.0

    def moved(self) -> None:
        self._count += 1
        if time.monotonic() - self._said >= POLL_SECONDS:
            self._said = time.monotonic()
            with suppress(OSError):  # a full disk: whoever waits then waits without a sign
                os.pwrite(self._file, b"%-20d" % self._count, 0)


@dataclass(frozen=True)
class Prepared:
    """A whole entry. While this object lives, the entry is not evicted."""

    images: Path  # uint8 (count, 3, side, side), row-major
    count: int
    side: int
    unreadable: dict[int, str]  # row: reason
    _lease: _Lease = field(repr=False)


def default_limit(folder: Path) -> int:
    """A quarter of the disk that `folder` is on, in bytes."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(place).total // 4


class Cache:
    """A folder of entries, at most `limit` bytes of them; None: `default_limit`. Any number of processes may share it."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = folder.absolute()
        self.limit = default_limit(folder) if limit is None else limit

    def prepared(self, found: Scan, fingerprint: str, side: int, progress: Progress) -> Prepared:
        """The squares of `side` px of all files of `found`, in its order: from the cache, or decoded now.

        `progress(done, total)` is called now and then; what it raises ends the work, which a later call continues.
        Raises NoRoom.
        """
        key = sha256(f"{FORMAT}/{fingerprint}/{len(found.paths)}/{side}".encode()).hexdigest()[:32]
        ready = self._open(key, found)
        if ready is not None:
            return ready
        need = len(found.paths) * 3 * side * side
        if need > self.limit:
            raise NoRoom(f"{_gigabytes(need)} of decoded images are more than the cache may hold ({_gigabytes(self.limit)})")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._making(key, lambda: progress(0, len(found.paths))):
                ready = self._open(key, found)  # another process may have made it meanwhile
                return ready or self._make(key, found, side, need, progress)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoRoom(f"the disk of the cache is full: {_gigabytes(need)} are needed") from error
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise NoRoom(f"the cache cannot be written to: {error.strerror}") from error
            raise

    def forget(self, root: Path) -> None:
        """Remove what was prepared of a folder that is gone, unless a process uses it."""
        for place in self._by_age():
            with suppress(OSError, ValueError, KeyError):
                if json.loads((place / ENTRY).read_bytes())["root"] == os.fsdecode(root.absolute()):
                    _remove(place)

    def _open(self, key: str, found: Scan | None) -> Prepared | None:
        """The entry, if it is there and its files are as they were (None: do not look at them)."""
        place = self.folder / key
        try:
            lease = _Lease(place)
            entry = json.loads((place / ENTRY).read_bytes())
            if found is not None and not _as_before(place, found, np.load(place / FILES)):
                return None
            os.utime(place / ENTRY)  # its age is counted from now
            unreadable = {int(row): str(reason) for row, reason in entry["unreadable"]}
            return Prepared(place / IMAGES, entry["count"], entry["side"], unreadable, lease)
        except (OSError, ValueError, KeyError, TypeError):  # not there, evicted in this very moment, or damaged: made anew
            return None

    def _make(self, key: str, found: Scan, side: int, need: int, progress: Progress) -> Prepared:
        partial = self.folder / f".{key}.partial"
        earlier = self._earlier(found.root, side)
        try:
            self._evict(need - _bytes(partial), keep={partial.name, *([earlier.folder.name] if earlier else [])})
        except NoRoom:
            if earlier is None:
                raise
            earlier = None  # no room for both: everything is decoded again
            self._evict(need - _bytes(partial), keep={partial.name})
        partial.mkdir(exist_ok=True)
        (partial / _IN_USE).touch()
        about = {"format": FORMAT, "root": os.fsdecode(found.root.absolute())}
        try:
            prepare(partial, found, side, about, earlier, progress)
        except OSError:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk had better not stay full on our account
            raise
        old = self.folder / f".{key}.old"
        with suppress(FileNotFoundError):
            (self.folder / key).rename(old)
        partial.rename(self.folder / key)
        sync_folder(self.folder)
        shutil.rmtree(old, ignore_errors=True)
        ready = self._open(key, None)
        if ready is None:
            raise NoRoom("the entry was gone as soon as it was made")
        return ready

    @contextmanager
    def _making(self, key: str, meanwhile: Any) -> Iterator[None]:
        """One process at a time; a process that dies lets go."""
        with open(os.open(self.folder / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0) as lock:
            seen = b""
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    meanwhile()
                    time.sleep(POLL_SECONDS)
                    before, seen = seen, os.pread(lock.fileno(), 20, 0)
                    if seen != before:
                        moved()  # there, and so here
            with heard_by(_Counted(lock.fileno()).moved):
                yield

    def _earlier(self, root: Path, side: int) -> Earlier | None:
        """The most recently used entry of the same folder at the same size: what was decoded for it need not be again."""
        for place in reversed(self._by_age()):
            try:
                entry = json.loads((place / ENTRY).read_bytes())
                wanted = (FORMAT, os.fsdecode(root.absolute()), side)
                if (entry["format"], entry["root"], entry["side"]) != wanted or not (place / IMAGES).is_file():
                    continue
                paths = Paths(os.fsdecode(each) for each in (place / PATHS).read_bytes().split(b"\0")[:-1])
                unreadable = {int(row): str(reason) for row, reason in entry["unreadable"]}
                return Earlier(place, paths, np.load(place / FILES), unreadable)
            except (OSError, ValueError, KeyError):
                continue
        return None

    def _by_age(self) -> list[Path]:
        """Entries and beginnings of entries, unused for longest first."""
        aged = []
        for place in self.folder.iterdir() if self.folder.is_dir() else ():
            if not _OURS.fullmatch(place.name) or not place.is_dir():
                continue  # somebody else's, in a folder that is shared
            with suppress(OSError):
                mark = place / ENTRY
                aged.append(((mark if mark.exists() else place).stat().st_mtime, place))
        return [place for _, place in sorted(aged)]

    def _evict(self, need: int, keep: set[str]) -> None:
        """Make room for `need` bytes, within the limit and on the disk. Raises NoRoom."""
        places = self._by_age()
        sizes = {place: _bytes(place) for place in places}
        for place in [None, *places]:
            if place is not None:
                if place.name in keep or not _remove(place):
                    continue
                del sizes[place]
            disk = shutil.disk_usage(self.folder)
            if sum(sizes.values()) + need <= self.limit and need + min(disk.total // 20, 5 * 2**30) <= disk.free:
                return
        raise NoRoom(
            f"{_gigabytes(need)} of decoded images do not fit beside what is in use (cache {_gigabytes(self.limit)}, "
            f"disk {_gigabytes(shutil.disk_usage(self.folder).free)} free)"
        )


def _as_before(place: Path, found: Scan, files: Files) -> bool:
    """Whether the files are those that were decoded. A file with a new mtime but the old content is; its mtime is noted."""
    if len(files) != len(found.paths) or not np.array_equal(files["size"], np.asarray(found.sizes)):
        return False
    mtimes = np.asarray(found.mtimes)
    touched = np.flatnonzero((files["mtime"] != mtimes) | (files["hash"] == UNKNOWN))
    for row in touched.tolist():
        moved()
        if hash_of(found.root / found.paths[row], found.bounds) != files["hash"][row]:
            return False
    if not np.array_equal(files["mtime"], mtimes):
        files["mtime"] = mtimes
        with suppress(OSError):  # then it is hashed again the next time
            write_atomically(place / FILES, lambda file: np.save(file, files))
    return True


def _remove(place: Path) -> bool:
    """Remove an entry, or the beginning of one, unless a process uses or makes it."""
    key = place.name.removeprefix(".").split(".")[0]
    with (place.parent / f"{key}.lock").open("ab") as making:
        try:
            fcntl.flock(making, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError), (place / _IN_USE).open("rb") as lease:
                fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(place, ignore_errors=True)
        return True


def _bytes(place: Path) -> int:
    """What a folder takes on the disk, allocated blocks counted."""
    total = 0
    with suppress(OSError):
        for file in place.iterdir():
            with suppress(OSError):
                total += file.stat().st_blocks * 512
    return total


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
