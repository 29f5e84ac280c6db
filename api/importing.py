"""POST /encoders: a file of weights comes in, and a job of kind import makes an encoder of it.

The file goes to the disk as it comes, never into memory; it is read by the job's own process, which runs nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.body import media_type
from api.deps import ServicesDep
from api.errors import Problem, invalid
from api.fields import Text200
from api.jobs import job_body
from api.schemas import JobBody
from jobs.durable import sync
from jobs.ids import new_id
from jobs.queue import enqueue
from jobs.records import JobDraft
from jobs.uploads import is_full
from ssl_core.spec import explain_all
from ssl_core.spec.imported import ImportSpec

router = APIRouter(prefix="/encoders", tags=["encoders"])
KIND = "import"
PLACES = 2  # files that arrive at the same time, in this process
LEFT_SECONDS = 7 * 86_400  # after which a file is removed that its job has not taken: it failed, or was cancelled
_TYPES = ("application/octet-stream", "application/zip", "")
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
_arriving: set[str] = set()


@router.post("", status_code=202, response_model=JobBody, summary="Import an encoder")
async def import_encoder(
    request: Request,
    response: Response,
    services: ServicesDep,
    filename: Annotated[str, Query(max_length=200, description="What the file is called; for people.")] = "weights",
    name: Annotated[Text200 | None, Query(description="What to call the job.")] = None,
    arch: Annotated[str | None, Query(max_length=100, description="The network, where the file does not say it.")] = None,
    stem: Annotated[str, Query(description="auto (by the file), imagenet or cifar.")] = "auto",
    size: Annotated[int | None, Query(description="Side of the images it sees. Default: the file's, or 224.")] = None,
    short_side: Annotated[int | None, Query(description="To which the short side is resized before. Default: 8/7 of it.")] = None,
    mean: Annotated[str | None, Query(max_length=100, description="Three numbers with commas. Default: ImageNet's.")] = None,
    std: Annotated[str | None, Query(max_length=100, description="Three numbers with commas. Default: ImageNet's.")] = None,
    network: Annotated[str, Query(description="Of the reference implementation: model or lagging_model.")] = "model",
) -> JobBody:
    """The body is the file itself (`application/octet-stream`): a checkpoint of the reference implementation, which says itself
    what it is; or a safetensors file, or one that torch.save wrote with a state dict, with `arch`. Only tensors and plain values
    are read: what names anything else is refused, and nothing in it is run. The answer is a job of kind import; when it has
    succeeded, `encoder` is there as any other."""
    if (kind := media_type(request)) not in _TYPES:
        detail = f"The body must be the file itself (Content-Type: application/octet-stream), not {kind[:100]!r}."
        raise Problem("unsupported-media-type", detail)
    if not _NAME.fullmatch(filename) or not filename.isprintable():
        raise Problem("validation", f"filename = {filename[:100]!r} is not a file's name.", parameter="filename")
    given: dict[str, Any] = {"arch": arch, "stem": stem, "size": size, "short_side": short_side, "network": network}
    given |= {"mean": _three("mean", mean), "std": _three("std", std)}
    spec = _spec({"filename": filename, **{field: value for field, value in given.items() if value is not None}})
    folder = services.settings.home / "imports"
    with _place():
        upload, digest, size_bytes = await _arrived(request, folder)
    try:
        facts = {"upload": upload, "sha256": digest, "size_bytes": size_bytes}
        draft = JobDraft(
            name=name or f"import {filename}"[:200], kind=KIND, method=KIND, spec={**spec.model_dump(mode="json"), **facts}
        )
        record = await asyncio.to_thread(services.repository.create, draft, max_queued=services.settings.max_queued)
    except BaseException:
        (folder / upload).unlink(missing_ok=True)
        raise
    await asyncio.to_thread(enqueue, record.id)
    response.headers["Location"] = f"/jobs/{record.id}"
    return job_body(record)


def _spec(given: dict[str, Any]) -> ImportSpec:
    try:
        return ImportSpec.model_validate(given)
    except ValidationError as error:
        problems = explain_all(error)
        raise invalid([(pointer, detail) for pointer, detail in problems]) from None


def _three(parameter: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(each) for each in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 3:
        raise Problem("validation", f"{parameter} = {text[:100]!r} must be three numbers: 0.5,0.5,0.5", parameter=parameter)
    return numbers


@contextlib.contextmanager
def _place() -> Iterator[None]:
    if len(_arriving) >= PLACES:
        raise Problem("busy", f"{PLACES} files are arriving already; try again in 10 s.", headers={"Retry-After": "10"})
    mine = new_id("up")
    _arriving.add(mine)
    try:
        yield
    finally:
        _arriving.discard(mine)


async def _arrived(request: Request, folder: Path) -> tuple[str, str, int]:
    """(its name in the folder, SHA-256, bytes): the body, durable on the disk. Raises Problem; then nothing of it is left."""
    await asyncio.to_thread(_tidy, folder)
    name, digest, size = new_id("up"), hashlib.sha256(), 0
    partial = folder / f".{name}.partial"
    try:
        with partial.open("xb") as file:
            async for piece in request.stream():
                size += len(piece)
                await asyncio.to_thread(file.write, piece)
                digest.update(piece)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        if not size:
            raise Problem("validation", "The body is empty; it must be the file of weights.")
        partial.rename(folder / name)
        await asyncio.to_thread(sync, folder)
    except OSError as error:
        if is_full(error):
            raise Problem("unavailable", "No space is left on the service's disk.", headers={"Retry-After": "600"}) from None
        raise
    finally:
        partial.unlink(missing_ok=True)
    return name, digest.hexdigest(), size


def _tidy(folder: Path) -> None:
    """Make the folder; remove what was left over."""
    folder.mkdir(parents=True, exist_ok=True)
    before = time.time() - LEFT_SECONDS
    for each in folder.iterdir():
        with contextlib.suppress(OSError):
            if each.stat().st_mtime < before:
                each.unlink()
