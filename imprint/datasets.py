"""Datasets of the service: pictures sent as a ZIP, going on where a broken connection ended; listed; deleted. HTTP only."""

from __future__ import annotations

import hashlib
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from imprint import images
from imprint.errors import Conflict, ConnectionFailed, UsageError
from imprint.flow import PAUSES, Call, Flow, Pause, Upload, Work, get, iterate, pages, parsed, part, run
from imprint.records import Json
from imprint.results import Results
from imprint.transport import Transport

PATIENCE = 600.0  # seconds that another request with the same key may take
LONGEST_ANSWER = 3600.0  # seconds from the end of an archive to the answer: it is unpacked and looked through meanwhile

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

    def upload_dataset(self, path: str | Path, name: str | None = None, *, on_progress: Progress | None = None) -> Dataset:
        """Send a ZIP file, or a folder, whose pictures are packed into one first. Then `submit(data={"source": "dataset", …})`.

        When the connection breaks, and when the call is repeated with the same unchanged file, it goes on where it was; a file
        that has arrived already gives the dataset that it became. `name`: default, the file's. Raises Rejected, UsageError.
        """
        return run(uploaded(path, name, on_progress), self._transport.performer())

    def dataset(self, dataset_id: str) -> Dataset:
        """One dataset. Raises NotFound."""
        return run(dataset(dataset_id), self._transport.performer())

    def datasets(self, *, limit: int | None = None) -> Results[Dataset]:
        """Your own and everybody's, newest first."""
        return Results(iterate(listed(limit), self._transport.performer()))

    def delete_dataset(self, dataset_id: str) -> None:
        """Forget a registered folder; remove what was uploaded. Raises Conflict while an unfinished job uses it."""
        run(deleted(dataset_id), self._transport.performer())


def dataset(dataset_id: str) -> Flow[Dataset]:
    """See `DatasetCalls.dataset`, and so on."""
    return Dataset.parse((yield from get(f"/datasets/{part(dataset_id)}")))


def listed(limit: int | None) -> Flow[None]:
    return parsed(pages("/datasets", {}, limit), Dataset.parse)


def deleted(dataset_id: str) -> Flow[None]:
    yield Call("DELETE", f"/datasets/{part(dataset_id)}")


def uploaded(path: str | Path, name: str | None, progress: Progress | None) -> Flow[Dataset]:
    source = Path(path)
    title = name or source.name.removesuffix(".zip")
    if source.is_file():
        if not zipfile.is_zipfile(source):
            raise UsageError(f"{str(source)!r} is no ZIP archive", "give one, or a folder of pictures")
        status = source.stat()
        same = f"{title}\0{source.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
        return (yield from _sent(source, title, hashlib.sha256(same.encode()).hexdigest()[:40], progress))
    if not source.is_dir():
        raise UsageError(f"there is no file or folder {str(source)!r}")
    with tempfile.TemporaryDirectory(prefix="imprint-") as folder:
        packed = Path(folder, "pictures.zip")
        yield Work(lambda: _pack(source, packed))
        return (yield from _sent(packed, title, str(uuid.uuid4()), progress))


def _sent(file: Path, name: str, key: str, progress: Progress | None) -> Flow[Dataset]:
    """Ask how far the upload of this key has come, send the rest, until it is whole."""
    size = file.stat().st_size
    told = (lambda sent: progress(sent, size)) if progress is not None else None
    failures, furthest, began = 0, -1, time.monotonic()
    while True:
        state = (yield Call("GET", "/datasets/uploads", headers={"Idempotency-Key": key})).json()
        if state["dataset"]:
            return (yield from dataset(state["dataset"]))
        offset = min(int(state["offset"]), size)
        if offset > furthest:
            failures, furthest = 0, offset
        try:
            answer = yield Call(
                "POST",
                "/datasets",
                params={"name": name, "offset": offset or None},
                content=Upload(file, told, offset, size),
                headers={"Idempotency-Key": key, "Content-Type": "application/zip", "Content-Length": str(size - offset)},
                timeout=LONGEST_ANSWER,
            )
            return Dataset.parse(answer.json())
        except ConnectionFailed:
            failures += 1
            if failures > len(PAUSES):
                raise
            yield Pause(PAUSES[failures - 1])
        except Conflict:  # the request before, whose connection broke, is still looked at
            if time.monotonic() - began > PATIENCE:
                raise
            yield Pause(1.0)


def _pack(source: Path, to: Path) -> None:
    """A ZIP file of a folder's pictures."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED, strict_timestamps=False) as made:
        for each in images.find([source]):  # pictures are compressed already
            made.write(each, each.relative_to(source))
