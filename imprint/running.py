"""The note that a running `imprint up` leaves in its home, so that other commands on this machine find it without being told."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

NOTE = Path("run/stack.json")
LOCK = Path("run/stack.lock")
DEFAULT_HOME = "imprint-home"


@dataclass(frozen=True, slots=True)
class Running:
    """What `imprint up` says about itself."""

    pid: int
    address: str
    home: str
    data_root: str


def write(note: Running) -> None:
    path = Path(note.home) / NOTE
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(dataclasses.asdict(note), indent=1))
    os.replace(temporary, path)


def erase(home: Path) -> None:
    (home / NOTE).unlink(missing_ok=True)


def read(home: Path) -> Running | None:
    """The note in a home, unless its process is gone."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        note = Running(**json.loads((home / NOTE).read_text()))
        return note if _alive(note.pid) else None
    return None


def find(start: Path | None = None) -> Running | None:
    """The stack of IMPRINT_HOME, or of an imprint-home in the current folder or one above it."""
    if named := os.environ.get("IMPRINT_HOME"):
        return read(Path(named))
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if note := read(folder / DEFAULT_HOME):
            return note
    return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # someone else's
    return True


class Lock:
    """Held by the one `imprint up` of a home. The kernel lets go of it when the process ends, however it ends."""

    def __init__(self, home: Path) -> None:
        self._path = home / LOCK
        self._file: int | None = None

    def acquire(self) -> bool:
        """False when another process holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
