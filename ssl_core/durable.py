"""Files that are whole or not there, and durable once a function here returns. Knows no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast


class _Heard:
    """A file that remembers why it could not be written: torch and numpy tell of a full disk in words that do not say so."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.refusal: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.refusal = self.refusal or error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write(file)` on a temporary file in the same folder; then fsync, rename, fsync the folder.

    After a return the file is whole and durable; after a kill at any instant the old content, or nothing, is there. Raises
    OSError, whatever `write` makes of one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            heard = _Heard(file)
            try:
                write(cast(BinaryIO, heard))
            except Exception as error:
                if heard.refusal is None or error is heard.refusal:
                    raise
                raise heard.refusal from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
