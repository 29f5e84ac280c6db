"""The static files of the pages, read once and kept in memory: small, compressed, and never looked up on the disk again.

Their address holds a digest of all of them, so that browsers may keep them for ever and never mix two versions.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fastapi import APIRouter, Request, Response

from api.errors import Problem

FOLDER = Path(__file__).parent / "static"
PREFIX = "/ui/static/"
_YEAR = "public, max-age=31536000, immutable"
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Asset:
    """One file: its bytes, plain and compressed."""

    body: bytes
    media_type: str

    @cached_property
    def gzipped(self) -> bytes:
        return gzip.compress(self.body, 6, mtime=0)


class Assets:
    """All files below a folder, by their path within it."""

    def __init__(self, folder: Path) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        self.files = {path.relative_to(folder).as_posix(): Asset(path.read_bytes(), _type_of(path)) for path in files}
        whole = hashlib.sha256()
        for name, asset in self.files.items():
            whole.update(f"{name}\0{len(asset.body)}\0".encode() + asset.body)
        self.version = whole.hexdigest()[:12]

    def url(self, name: str) -> str:
        """Where a file is served. Raises KeyError for one that is not there, so that a template cannot misspell it."""
        self.files[name]
        return f"{PREFIX}{self.version}/{name}"


def _type_of(path: Path) -> str:
    return _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


ASSETS = Assets(FOLDER)


@router.get(PREFIX + "{version}/{name:path}")
def static(version: str, name: str, request: Request) -> Response:
    """A file of the pages. Under the address of an older version too, which then must not be kept."""
    asset = ASSETS.files.get(name)
    if asset is None:
        raise Problem("not-found", f"The pages have no file {name[:100]!r}.")
    headers = {
        "Cache-Control": _YEAR if version == ASSETS.version else "no-store",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
    }
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.body, media_type=asset.media_type, headers=headers)
    return Response(asset.gzipped, media_type=asset.media_type, headers={**headers, "Content-Encoding": "gzip"})
