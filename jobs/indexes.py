"""Where the index of an encoder lies below the home, and how it is swapped: whole, at once, under searches that go on.

    home/indexes/<encoder id>/current        the name of the folder that is searched
    home/indexes/<encoder id>/<name>/        that folder; never changed, removed once another is current
    home/indexes/<encoder id>/.build/        one that is being made
    home/indexes/<encoder id>/build.json     what was asked for last, and what became of it
    home/indexes/<encoder id>.lock           held by the process that builds; the system frees it when that process ends

Who has opened the old folder keeps its memory map, and finishes with it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jobs.artifacts import Artifacts
from jobs.ids import new_id

_ID = re.compile(r"enc_[0-9A-HJKMNP-TV-Z]{26}")
_NAME = re.compile(r"idx_[0-9A-HJKMNP-TV-Z]{26}")


class IndexPlace:
    """One encoder's. Raises ValueError for what is not an encoder's id."""

    def __init__(self, home: Path, encoder_id: str) -> None:
        if not _ID.fullmatch(encoder_id):
            raise ValueError(f"{encoder_id!r} is not an id")
        self.folder = home / "indexes" / encoder_id
        self.building = self.folder / ".build"

    def current(self) -> Path | None:
        """The folder to search, or None. It may be gone by the time that it is opened: ask again."""
        try:
            name = (self.folder / "current").read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        return self.folder / name if _NAME.fullmatch(name) else None

    def lock(self) -> BinaryIO | None:
        """The right to build, until the file is closed; None while another has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder.with_name(f"{self.folder.name}.lock").open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def clear_build(self) -> None:
        """Remove what an earlier build left half done."""
        shutil.rmtree(self.building, ignore_errors=True)
        self.building.mkdir(parents=True, exist_ok=True)

    def publish(self, made: Path) -> Path:
        """Make a finished folder the current one. The one before goes, and what was left of others."""
        target = self.folder / new_id("idx")
        made.rename(target)
        self._write("current", target.name)
        self._remove_others(target.name)
        return target

    def remove(self) -> bool:
        """Remove index and build; whether there was any. Searches that have begun end well."""
        there = self.folder.is_dir() and any(self.folder.iterdir())
        (self.folder / "current").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return there

    def build(self) -> dict[str, Any] | None:
        """What was asked for last."""
        return _json(self.folder / "build.json")

    def write_build(self, about: dict[str, Any]) -> None:
        """Replaced atomically."""
        self._write("build.json", json.dumps(about, indent=1))

    def progress(self) -> dict[str, Any]:
        """How far the build is: phase, done, total; empty before it begins."""
        return _json(self.building / "progress.json") or {}

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.{os.getpid()}.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)

    def _remove_others(self, kept: str) -> None:
        for each in self.folder.iterdir():
            if _NAME.fullmatch(each.name) and each.name != kept:
                shutil.rmtree(each, ignore_errors=True)


def unfinished(home: Path) -> Iterator[str]:
    """Encoders whose index was being built when somebody last wrote about it."""
    folders = (home / "indexes").iterdir() if (home / "indexes").is_dir() else []
    for folder in sorted(folders):
        if _ID.fullmatch(folder.name) and (IndexPlace(home, folder.name).build() or {}).get("status") == "building":
            yield folder.name


def vectors_of(home: Path, job_id: str) -> Path | None:
    """The newest result of an embed job: home/vectors/<job>.<attempt>."""
    Artifacts(home).job_folder(job_id)  # a ValueError for what is not an id
    found = [
        each for each in (home / "vectors").glob(f"{job_id}.*") if each.suffix[1:].isdigit() and (each / "result.json").is_file()
    ]
    return max(found, key=lambda each: int(each.suffix[1:]), default=None)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None
