"""Files and folders that are opened only below a place, whoever changes names and links meanwhile. Knows no torch.

    bounds = bounds_of(data_root)
    read_below(path, bounds) -> bytes        open_below(path, bounds) -> file        open_folder_below(path, bounds) -> descriptor

To check a path and then to open it is a race: between the two, somebody who may write there can put a link in its place. So it is
opened first, and then the system is asked where what was opened really lies: a descriptor cannot be swapped.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

_OURS = "/proc/self/fd"


class LeadsOut(OSError):
    """What was opened does not lie where it must. Nothing of it was read."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EACCES, "it leads out of the data root", path)


def bounds_of(root: Path) -> str:
    """The place itself, with links resolved."""
    return os.path.realpath(root)


def open_below(path: Path | str, bounds: str | None) -> BinaryIO:
    """A regular file below `bounds` (see `bounds_of`), or anywhere (None), to be read. Raises LeadsOut and other OSErrors."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe in its place must not keep us waiting
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", os.fspath(path))
        _must_lie_below(descriptor, path, bounds)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def same_file(opened: BinaryIO, path: Path) -> Path:
    """A path of an open file, for what opens files itself: of exactly this file where the system has such paths."""
    own = Path(_OURS, str(opened.fileno()))
    return own if own.exists() else path


def read_below(path: Path | str, bounds: str | None) -> bytes:
    """The content of such a file."""
    with open_below(path, bounds) as file:
        return file.read()


def open_folder_below(path: Path | str, bounds: str | None) -> int:
    """The descriptor of a folder, as `open_below`; to be closed by the caller."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        _must_lie_below(descriptor, path, bounds)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def lies_below(place: str, bounds: str) -> bool:
    """Whether a real path is `bounds` or lies in it."""
    return place == bounds or place.startswith(bounds.rstrip(os.sep) + os.sep)


def _must_lie_below(descriptor: int, path: Path | str, bounds: str | None) -> None:
    if bounds is not None and not lies_below(_place_of(descriptor, path), bounds):
        raise LeadsOut(os.fspath(path))


def _place_of(descriptor: int, path: Path | str) -> str:
    """Where an open file lies, as the system knows it."""
    if sys.platform == "linux" and os.path.isdir(_OURS):
        return os.readlink(f"{_OURS}/{descriptor}")
    if sys.platform == "darwin":
        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    place = os.path.realpath(path)  # elsewhere: the same file, if it is still there under a path without links
    if not os.path.samestat(os.fstat(descriptor), os.lstat(place)):
        raise LeadsOut(os.fspath(path))
    return place
