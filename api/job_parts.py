"""What a job leaves behind while it runs: metrics, events (polled or streamed), its log, its checkpoints."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import PlainTextResponse, StreamingResponse

from api.deps import JobId, LongLimit, Repo, ServicesDep
from api.errors import Problem
from api.schemas import CheckpointBody, EventBody, ListOf, MetricPoint
from api.short import long, short
from api.streaming import MOST_STREAMS, Cursor, counted, event_body
from jobs.records import Point
from jobs.repository import Repository

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])
Count = Annotated[int, Query(ge=0, le=2**53)]
NAMES = 200  # more metrics than a step ever has
LOG_BYTES = 2**20  # the most that is read of a log's end
_STEP = re.compile(r"step-(\d+)\.ckpt")


@router.get("/metrics", response_model=ListOf[MetricPoint], summary="Metrics over time")
async def metrics(
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
) -> Response:
    """In the order of their steps. The next page: `after_step` = the last step. A page never ends within a step, so it may be
    a little longer than `limit`. With `points` there is one page.
    """
    if points is not None:
        return await _curves(repository, job_id, points, name, after_step)
    return await _page(repository, job_id, limit, name, after_step)


@long
def _curves(repository: Repository, job_id: str, points: int, name: str | None, after_step: int | None) -> Response:
    return _as_json(repository.curves(job_id, points, name=name, after_step=after_step).data, False)


@short
def _page(repository: Repository, job_id: str, limit: int, name: str | None, after_step: int | None) -> Response:
    page = repository.metrics(job_id, name=name, after_step=after_step, limit=limit + NAMES)
    found = page.data
    end = next((at for at in range(limit, len(found)) if found[at].step != found[limit - 1].step), len(found))
    return _as_json(found[:end], page.has_more or end < len(found))


def _as_json(points: Sequence[Point], has_more: bool) -> Response:
    """Written here, in a thread: megabytes are, elsewhere, written while all others wait."""
    data = [MetricPoint.model_validate(each, from_attributes=True) for each in points]
    content = ListOf[MetricPoint](data=data, has_more=has_more).model_dump_json()
    return Response(content, media_type="application/json")


@router.get("/events", response_model=ListOf[EventBody], summary="What happened, polled or streamed")
async def events(
    request: Request,
    job_id: JobId,
    services: ServicesDep,
    after: Count = 0,
    limit: LongLimit = 100,
    live: Annotated[
        bool, Query(description="Of a stream: send the job as `job` whenever it changes, and new values as `metrics`, too.")
    ] = False,
    after_step: Annotated[int, Query(ge=0, le=2**53, description="With `live`: the last step whose metrics are known.")] = 0,
) -> Response | ListOf[EventBody]:
    """Oldest first. Poll with `after` = the last event's id; or send `Accept: text/event-stream` and have them sent as they
    happen, beginning after `Last-Event-ID`. The stream ends with an event `end` when the job has come to rest.
    """
    if "text/event-stream" not in request.headers.get("accept", ""):
        page = await asyncio.to_thread(services.repository.events, job_id, after=after, limit=limit)
        return ListOf(data=[event_body(each) for each in page.data], has_more=page.has_more)
    await asyncio.to_thread(services.repository.get, job_id)  # 404 before the stream begins
    if services.streams[services.caller.key] >= MOST_STREAMS:
        detail = f"{MOST_STREAMS} event streams of this key are open, which is the most; close some, or poll."
        raise Problem("busy", detail, headers={"Retry-After": "5"})
    cursor = Cursor.begin(request.headers.get("last-event-id", ""), after, after_step if live else None)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(counted(services, job_id, cursor), media_type="text/event-stream", headers=headers)


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
