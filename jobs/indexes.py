"""Where the index of an encoder lies below the home, and how it is swapped: whole, at once, under searches that go on.

    home/indexes/<encoder id>/current               the name of the folder that is searched
    home/indexes/<encoder id>/<job id>.<attempt>/   that folder; never changed, removed once another is current

What is current only ever becomes newer: ids of jobs sort by the time of their making, so a worker that was frozen for an hour
cannot put an index back that has been replaced meanwhile.

Who has opened the old folder keeps its memory maps, and finishes with it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from pathlib import Path

from jobs.durable import sync

_ID = re.compile(r"enc_[0-9A-HJKMNP-TV-Z]{26}")
_NAME = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}\.\d+")
CURRENT = "current"


class IndexPlace:
    """One encoder's. Raises ValueError for what is not an encoder's id."""

    def __init__(self, home: Path, encoder_id: str) -> None:
        if not _ID.fullmatch(encoder_id):
            raise ValueError(f"{encoder_id!r} is not an id")
        self.folder = home / "indexes" / encoder_id

    def current(self) -> Path | None:
        """The folder to search, or None. It may be gone by the time that it is opened: ask again."""
        try:
            name = (self.folder / CURRENT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return self.folder / name if _NAME.fullmatch(name) else None

    def publish(self, made: Path, name: str) -> Path:
        """Make a finished folder the current one, under this name. The one before goes. Doing it twice does no more.

        Returns where it lies: where it was, and not current, if that of a newer job or attempt is.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an attempt")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # closing it lets go, and so does the end of the process
            before = self.current()
            if before is not None and _age(before.name) > _age(name):
                return made
            return self._swap(made, name)

    def _swap(self, made: Path, name: str) -> Path:
        target = self.folder / name
        if not target.is_dir():
            made.rename(target)
            sync(self.folder)
        temporary = self.folder / f".{CURRENT}.{os.getpid()}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(name)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / CURRENT)
        sync(self.folder)
        for each in self.folder.iterdir():
            if _NAME.fullmatch(each.name) and each.name != name:
                shutil.rmtree(each, ignore_errors=True)
        return target

    def remove(self) -> bool:
        """Remove the index; whether there was one. Searches that have begun end well."""
        there = self.current() is not None
        (self.folder / CURRENT).unlink(missing_ok=True)  # first: nobody is sent to a folder that is going
        shutil.rmtree(self.folder, ignore_errors=True)
        return there


def _age(name: str) -> tuple[str, int]:
    job, _, attempt = name.partition(".")
    return job, int(attempt)
