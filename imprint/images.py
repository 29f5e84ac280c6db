"""Images on their way to the service: paths, bytes or PIL images become named bytes. Decodes nothing itself."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from imprint.errors import UsageError
from imprint.flow import Flow, Work

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
)


class PilImage(Protocol):
    """What is used of a PIL image; PIL itself is never imported here."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None: ...


Image = str | Path | bytes | bytearray | memoryview | PilImage


def read(image: Image, index: int) -> tuple[str, bytes]:
    """(name, encoded bytes). Raises UsageError for a path that cannot be read."""
    if isinstance(image, str | Path):
        try:
            return str(image), Path(image).read_bytes()
        except OSError as error:
            raise UsageError(f"cannot read {str(image)!r}: {error.strerror or error}") from error
    if isinstance(image, bytes | bytearray | memoryview):
        return f"image-{index}", bytes(image)
    if hasattr(image, "save"):
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")  # lossless
        return f"image-{index}.png", buffer.getvalue()
    raise UsageError(f"image {index} is a {type(image).__name__}; give a path, the bytes of an image file, or a PIL image")


def find(paths: Iterable[str | Path]) -> list[Path]:
    """The files named, and every image file below the folders named, sorted, hidden ones left out.

    A file named explicitly is taken whatever it is called. Raises UsageError when something does not exist or nothing is found.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            below = (each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES)
            found += sorted(
                each for each in below if each.is_file() and not any(p.startswith(".") for p in each.relative_to(path).parts)
            )
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"there is no file or folder {str(path)!r}")
    if not found:
        raise UsageError("no images found there", f"looked for {', '.join(sorted(SUFFIXES))}")
    return found


Read = tuple[str, bytes | UsageError]
"""A name, and what the file holds or why it could not be read."""


def batch(numbered: Iterator[tuple[int, Image]], size: int, most_bytes: int) -> Flow[list[Read]]:
    """The next images of `enumerate(…)`, read in order; none at their end. At most `size`, and no more after the one with which
    they have `most_bytes`: only so much is in memory at a time."""
    read: list[Read] = []
    total = 0
    for index, image in islice(numbered, size):
        name, content = yield Work(partial(_tried, image, index))
        read.append((name, content))
        total += len(content) if isinstance(content, bytes) else 0
        if total >= most_bytes:
            break
    return read


def _tried(image: Image, index: int) -> Read:
    try:
        return read(image, index)
    except UsageError as error:
        return str(image) if isinstance(image, str | Path) else f"image-{index}", error
