"""Small pictures of what was found, from the files themselves: below the data root only, bounded in bytes and pixels."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

from api.deps import Services
from ssl_core.data.errors import BadImage
from ssl_core.data.images import decode
from ssl_core.data.reading import bounds_of, read_below

SIDE = 160  # pixels of the longer side
MOST_BYTES = 32 * 2**20
QUALITY = 80


def pictures_root(services: Services, data: dict[str, Any]) -> Path:
    """Below which the pictures lie that an index or a map is of: whoever may look at it may see them."""
    dataset = data.get("dataset")
    uploaded = services.uploads.place_of(dataset) if dataset else None
    return uploaded if uploaded is not None and uploaded.is_dir() else services.settings.data_root


def picture_file(data_root: Path, data: dict[str, Any], path: str) -> Path | None:
    """The file of an indexed picture, proven to lie below the data root with links followed; None if it does not, or is gone."""
    within = data.get("path")
    if not isinstance(within, str) or "\0" in path or os.path.isabs(path):
        return None
    root = Path(os.path.realpath(data_root))
    try:
        file = Path(os.path.realpath(root / within / path))
        good = file.is_relative_to(root) and file.is_file() and file.stat().st_size <= MOST_BYTES
    except (OSError, ValueError):  # a name that is too long
        return None
    return file if good else None


def jpeg(data_root: Path, data: dict[str, Any], path: str) -> bytes | None:
    """A JPEG; None if the picture is gone or cannot be read. Takes some milliseconds: call it in a thread."""
    file = picture_file(data_root, data, path)
    if file is None:
        return None
    try:
        image = decode(read_below(file, bounds_of(data_root)), at_least=SIDE)
    except (OSError, BadImage):
        return None
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def thumbnail(data_root: Path, data: dict[str, Any], path: str) -> str | None:
    """The same as a data URI."""
    content = jpeg(data_root, data, path)
    return None if content is None else "data:image/jpeg;base64," + base64.b64encode(content).decode()
