"""What a job leaves behind while it runs: metrics, events (polled or streamed), its log, its checkpoints."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.responses import PlainTextResponse, StreamingResponse

from api.deps import JobId, LongLimit, Repo, Services, ServicesDep
from api.errors import Problem
from api.schemas import CheckpointBody, EventBody, ListOf, MetricPoint
from jobs.status import TERMINAL

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])
Count = Annotated[int, Query(ge=0, le=2**53)]
NAMES = 200  # more metrics than a step ever has
LOG_BYTES = 2**20  # the most that is read of a log's end
POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
MOST_STREAMS = 64  # of one key at a time, in this process: each asks the database twice a second
_STEP = re.compile(r"step-(\d+)\.ckpt")


@router.get("/metrics", response_model=ListOf[MetricPoint], summary="Metrics over time")
def metrics(
    job_id: JobId,
    repository: Repo,
    name: Annotated[
        str | None, Query(max_length=60, pattern=r"^[ -~]+$", description="Only this one, for example train_loss.")
    ] = None,
    after_step: Annotated[int | None, Query(ge=0, le=2**53, description="Only what was measured after this step.")] = None,
    limit: LongLimit = 1000,
    points: Annotated[
        int | None,
        Query(ge=2, le=2000, description="For drawing: at most so many values of each name, evenly spread over the steps."),
    ] = None,
) -> ListOf[MetricPoint]:
    """In the order of their steps. The next page: `after_step` = the last step. A page never ends within a step, so it may be
    a little longer than `limit`. With `points` there is one page.
    """
    if points is not None:
        thin = repository.curves(job_id, points, name=name, after_step=after_step)
        return ListOf(data=[MetricPoint.model_validate(each, from_attributes=True) for each in thin.data], has_more=False)
    page = repository.metrics(job_id, name=name, after_step=after_step, limit=limit + NAMES)
    found = page.data
    end = next((at for at in range(limit, len(found)) if found[at].step != found[limit - 1].step), len(found))
    data = [MetricPoint.model_validate(each, from_attributes=True) for each in found[:end]]
    return ListOf(data=data, has_more=page.has_more or end < len(found))


@router.get("/events", response_model=ListOf[EventBody], summary="What happened, polled or streamed")
async def events(
    request: Request, job_id: JobId, services: ServicesDep, after: Count = 0, limit: LongLimit = 100
) -> Response | ListOf[EventBody]:
    """Oldest first. Poll with `after` = the last event's id; or send `Accept: text/event-stream` and have them sent as they
    happen, beginning after `Last-Event-ID`. The stream ends with an event `end` when the job has come to rest.
    """
    if "text/event-stream" not in request.headers.get("accept", ""):
        page = await asyncio.to_thread(services.repository.events, job_id, after=after, limit=limit)
        return ListOf(data=[_event(each) for each in page.data], has_more=page.has_more)
    await asyncio.to_thread(services.repository.get, job_id)  # 404 before the stream begins
    if services.streams[services.caller.key] >= MOST_STREAMS:
        detail = f"{MOST_STREAMS} event streams of this key are open, which is the most; close some, or poll."
        raise Problem("busy", detail, headers={"Retry-After": "5"})
    last = request.headers.get("last-event-id", "")
    begin = int(last) if last.isdecimal() and len(last) <= 15 else after
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_counted(services, job_id, begin), media_type="text/event-stream", headers=headers)


@router.get("/logs", response_class=PlainTextResponse, summary="The end of the log")
def logs(
    job_id: JobId, services: ServicesDep, tail: Annotated[int, Query(ge=1, le=100_000, description="Lines.")] = 200
) -> PlainTextResponse:
    """Plain text: what the newest attempt printed. Empty before it has printed anything."""
    record = services.repository.get(job_id)
    text = ""
    for attempt in range(record.attempt, 0, -1):
        if (file := services.artifacts.attempt_folder(job_id, attempt) / "log.txt").is_file():
            text = last_lines(file, tail)
            break
    return PlainTextResponse(text, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/checkpoints", response_model=ListOf[CheckpointBody], summary="Checkpoint files")
def checkpoints(job_id: JobId, services: ServicesDep) -> ListOf[CheckpointBody]:
    """Newest first, of all attempts."""
    record = services.repository.get(job_id)
    found: list[CheckpointBody] = []
    for attempt in range(record.attempt, 0, -1):
        folder = services.artifacts.attempt_folder(job_id, attempt)
        here = [_checkpoint(file, attempt, folder) for file in sorted(folder.glob("checkpoints/*.ckpt"), reverse=True)]
        found += [each for each in here if each is not None]
    return ListOf(data=found, has_more=False)


def last_lines(file: Path, count: int) -> str:
    """At most `count` lines from the end of a file, of at most LOG_BYTES; bytes that are not UTF-8 are shown as such."""
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - LOG_BYTES))
        data = stream.read()
    if size > LOG_BYTES:
        data = data[data.find(b"\n") + 1 :]
    return b"".join(data.splitlines(keepends=True)[-count:]).decode("utf-8", "backslashreplace")


def _checkpoint(file: Path, attempt: int, folder: Path) -> CheckpointBody | None:
    try:
        state = file.stat()
    except FileNotFoundError:  # the trainer keeps two and has just dropped this one
        return None
    step = _STEP.search(file.name)
    return CheckpointBody(
        file=str(file.relative_to(folder)),
        attempt=attempt,
        step=int(step[1]) if step else None,
        size_bytes=state.st_size,
        written_at=datetime.fromtimestamp(state.st_mtime, UTC),
    )


def _event(record: Any) -> EventBody:
    return EventBody.model_validate(record, from_attributes=True)


async def _counted(services: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    services.streams[services.caller.key] += 1
    try:
        async for part in _stream(services, job_id, after):
            yield part
    finally:
        services.streams[services.caller.key] -= 1


async def _stream(services: Services, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-sent events; a comment now and then keeps proxies from closing a quiet connection."""
    yield b"retry: 2000\n\n"
    spoke = time.monotonic()
    while not services.draining.is_set() and await services.keyring.holds(services.caller):
        # The status is read before the events: what was written until a job came to rest is then never missed.
        record = await asyncio.to_thread(services.repository.get, job_id)
        page = await asyncio.to_thread(services.repository.events, job_id, after=after, limit=200)
        for each in page.data:
            event = _event(each)
            after = event.id
            body = orjson.dumps(event.model_dump(mode="json"))
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.type.encode(), body)
            spoke = time.monotonic()
        if page.has_more:
            continue
        if record.status in TERMINAL or record.status == "paused":
            yield b"event: end\ndata: %s\n\n" % orjson.dumps({"status": str(record.status)})
            return
        if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            yield b": still here\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)
