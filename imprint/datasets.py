"""Datasets of the service: pictures sent as a ZIP, going on where a broken connection ended; listed; deleted. HTTP only."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from imprint import images
from imprint.errors import Conflict, ConnectionFailed, UsageError
from imprint.flow import PAUSES
from imprint.records import Json
from imprint.transport import Transport

PIECE = 2**18  # bytes
PATIENCE = 600.0  # seconds that another request with the same key may take

Progress = Callable[[int, int], None]  # (bytes sent, of how many)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A registered folder, or pictures that were uploaded."""

    id: str
    name: str
    path: str | None
    """Below the server's data root; None for what was uploaded."""
    images: int | None
    """To train on; `held_out` come on top."""
    held_out: int | None
    classes: int | None
    left_out: int
    """Files of the archive that are no pictures."""
    created_at: datetime | None
    raw: Json = field(repr=False)

    @classmethod
    def parse(cls, body: Json) -> Self:
        created = body.get("created_at")
        return cls(
            id=body["id"],
            name=body["name"],
            path=body.get("path"),
            images=body.get("images"),
            held_out=body.get("held_out"),
            classes=body.get("classes"),
            left_out=(body.get("archive") or {}).get("left_out", 0),
            created_at=datetime.fromisoformat(created) if created else None,
            raw=body,
        )


class DatasetCalls:
    """The part of `imprint.Client` that deals with datasets."""

    _transport: Transport
    if TYPE_CHECKING:  # the client's own

        def _pages(self, path: str, params: dict[str, Any], limit: int | None) -> Iterator[Json]: ...

    def upload_dataset(self, path: str | Path, name: str | None = None, *, on_progress: Progress | None = None) -> Dataset:
        """Send a ZIP file, or a folder, whose pictures are packed into one first. Then `submit(data={"source": "dataset", …})`.

        When the connection breaks, and when the call is repeated with the same unchanged file, it goes on where it was; a file
        that has arrived already gives the dataset that it became. `name`: default, the file's. Raises Rejected, UsageError.
        """
        source = Path(path)
        title = name or source.name.removesuffix(".zip")
        with _archive(source) as file:
            status = file.stat()
            same = f"{title}\0{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
            key = str(uuid.uuid4()) if source.is_dir() else hashlib.sha256(same.encode()).hexdigest()[:40]
            return self._sent(file, title, key, status.st_size, on_progress or (lambda sent, total: None))

    def dataset(self, dataset_id: str) -> Dataset:
        """One dataset. Raises NotFound."""
        return Dataset.parse(self._transport.request("GET", f"/datasets/{quote(dataset_id, safe='')}").json())

    def datasets(self, *, limit: int | None = None) -> Iterator[Dataset]:
        """Your own and everybody's, newest first."""
        return (Dataset.parse(body) for body in self._pages("/datasets", {}, limit))

    def delete_dataset(self, dataset_id: str) -> None:
        """Forget a registered folder; remove what was uploaded. Raises Conflict while an unfinished job uses it."""
        self._transport.request("DELETE", f"/datasets/{quote(dataset_id, safe='')}")

    def _sent(self, file: Path, name: str, key: str, size: int, progress: Progress) -> Dataset:
        headers = {"Idempotency-Key": key}
        failures, furthest, began = 0, -1, time.monotonic()
        while True:
            state = self._transport.request("GET", "/datasets/uploads", headers=headers).json()
            if state["dataset"]:
                return self.dataset(state["dataset"])
            offset = min(int(state["offset"]), size)
            if offset > furthest:
                failures, furthest = 0, offset
            try:
                answer = self._transport.upload(
                    "/datasets",
                    _pieces(file, offset, size, progress),
                    size - offset,
                    params={"name": name, "offset": offset or None},
                    headers={**headers, "Content-Type": "application/zip"},
                )
                return Dataset.parse(answer.json())
            except ConnectionFailed:
                failures += 1
                if failures > len(PAUSES):
                    raise
                time.sleep(PAUSES[failures - 1])
            except Conflict:  # the request before, whose connection broke, is still looked at
                if time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(1.0)


def _pieces(file: Path, offset: int, size: int, progress: Progress) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(offset)
        sent = offset
        while piece := opened.read(min(PIECE, size - sent)):
            yield piece
            sent += len(piece)
            progress(sent, size)


@contextmanager
def _archive(source: Path) -> Iterator[Path]:
    """The file to send: itself, or a temporary one with the pictures of a folder."""
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise UsageError(f"{str(source)!r} is no ZIP archive", "give one, or a folder of pictures")
        yield source
        return
    if not source.is_dir():
        raise UsageError(f"there is no file or folder {str(source)!r}")
    descriptor, name = tempfile.mkstemp(suffix=".zip", prefix="imprint-")
    try:
        with os.fdopen(descriptor, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, strict_timestamps=False) as made:
            for each in images.find([source]):  # pictures are compressed already
                made.write(each, each.relative_to(source))
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
