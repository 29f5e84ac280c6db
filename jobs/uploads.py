"""Where uploaded datasets lie below the home, and how they come there: whole, once, or not at all.

    home/datasets/.uploads/<name>.zip     an archive as far as it has arrived; locked by the process that receives or unpacks it
    home/datasets/.<dataset>.tmp/         its pictures while they are unpacked; locked likewise
    home/datasets/<dataset>/              published: renamed into its place, then recorded
    home/datasets/.<dataset>.gone/        deleted: renamed, after its row was, then removed

What a killed process leaves behind is swept (`Uploads.remove_leftovers`), which every worker does.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from jobs.durable import sync

KEPT_SECONDS = 24 * 3600  # an upload that nobody went on with
LEFTOVER_SECONDS = 3600
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DATASET = re.compile(r"ds_[0-9A-HJKMNP-TV-Z]{26}")
_LEFTOVER = re.compile(r"\.?(ds_[0-9A-HJKMNP-TV-Z]{26})(\.tmp|\.gone)?")


class DiskFull(Exception):
    """No room, or so little that the database's is needed for itself; a sentence."""


class InUse(Exception):
    """Another process receives the same upload."""


class Uploads:
    """The files of uploads and of what they became, below one home."""

    def __init__(self, datasets: Path) -> None:
        """datasets: the folder, see `Settings.datasets`."""
        self.folder = datasets
        self.arriving = datasets / ".uploads"

    # Arriving

    @staticmethod
    def name_of(owner: str, key: str) -> str:
        """What an owner's Idempotency-Key calls an upload by."""
        return sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]

    def arrived(self, name: str) -> int | None:
        """How many bytes of an upload are here, or None."""
        with contextlib.suppress(FileNotFoundError):
            return self._file(name).stat().st_size
        return None

    @contextlib.contextmanager
    def receiving(self, name: str) -> Iterator[BinaryIO]:
        """The upload's file, to be written and read by this process alone. Raises InUse."""
        self.arriving.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(self._file(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+b") as file:
            _lock(file.fileno())
            yield file

    def forget(self, name: str) -> None:
        """Remove what has arrived of an upload."""
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.arriving / f"{name}.zip"

    # Unpacked and published

    @contextlib.contextmanager
    def unpacking(self, dataset_id: str) -> Iterator[Path]:
        """An empty folder that is removed at the end, unless it was published meanwhile."""
        folder = self.folder / f".{_checked(dataset_id)}.tmp"
        folder.mkdir(mode=0o755, parents=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _lock(descriptor)
            yield folder
        finally:
            os.close(descriptor)
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, dataset_id: str, unpacked: Path) -> Path:
        """Make the unpacked pictures durable and put them in their place, all at once."""
        target = self.place_of(dataset_id)
        sync_all_below(unpacked)
        os.utime(unpacked)  # the sweep counts from now
        unpacked.rename(target)
        sync(self.folder)
        sync(self.folder.parent)
        return target

    def place_of(self, dataset_id: str) -> Path:
        """Where the pictures of an uploaded dataset lie. Raises ValueError for what is no id."""
        return self.folder / _checked(dataset_id)

    def remove(self, dataset_id: str) -> None:
        """Remove a dataset's files, whose row is gone. Those that cannot be removed now are swept later."""
        gone = self.folder / f".{_checked(dataset_id)}.gone"
        with contextlib.suppress(FileNotFoundError):
            self.place_of(dataset_id).rename(gone)
            sync(self.folder)
        shutil.rmtree(gone, ignore_errors=True)

    # Room and order

    def need(self, size: int) -> None:
        """That so many bytes more fit, with room left for the database beside them. Raises DiskFull."""
        place = next(each for each in (self.folder, *self.folder.parents) if each.exists())
        disk = shutil.disk_usage(place)
        kept = min(disk.total // 20, 2**30)
        if size + kept > disk.free:
            mib = [f"{each / 2**20:,.1f} MiB" for each in (size, disk.free, kept)]
            raise DiskFull(f"{mib[0]} more do not fit on the disk: {mib[1]} are free, {mib[2]} of them for the database")

    def remove_leftovers(self, recorded: set[str], now: float | None = None) -> list[Path]:
        """Remove what no row names and no process works at, an hour after it was last touched, and uploads a day after."""
        now = time.time() if now is None else now
        left: list[Path] = []
        for each in self.folder.iterdir() if self.folder.is_dir() else ():
            found = _LEFTOVER.fullmatch(each.name)
            named = found is not None and each.name in recorded
            if found and not named and _older(each, now - LEFTOVER_SECONDS) and _unlocked(each):
                shutil.rmtree(each, ignore_errors=True)
                left.append(each)
        for each in self.arriving.iterdir() if self.arriving.is_dir() else ():
            if each.suffix == ".zip" and _older(each, now - KEPT_SECONDS) and _unlocked(each):
                each.unlink(missing_ok=True)
                left.append(each)
        return left


def is_full(error: OSError) -> bool:
    """Whether it says that the disk, or a quota, is full."""
    return error.errno in _FULL


def sync_all_below(folder: Path) -> None:
    """Make a folder with all that is in it durable: by one call where the system has it, else file by file."""
    if sys.platform == "linux":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if hasattr(libc, "syncfs"):
                if libc.syncfs(descriptor) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), os.fspath(folder))
                return
        finally:
            os.close(descriptor)
    for place, _, files in os.walk(folder):
        for name in files:
            sync(Path(place, name))
        sync(Path(place))


def _checked(dataset_id: str) -> str:
    if not _DATASET.fullmatch(dataset_id):
        raise ValueError(f"{dataset_id!r} is not a dataset's id")
    return dataset_id


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InUse from None


def _unlocked(path: Path) -> bool:
    """Whether no process works at it. Between this answer and a removal nobody can begin to: names of folders are used once, and
    whoever goes on with an upload touches it first."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        _lock(descriptor)
        return True
    except InUse:
        return False
    finally:
        os.close(descriptor)


def _older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return False
