"""A job's events as they happen, over one connection (server-sent events); and with `live`, the job and its metrics too.

    id: 17              of an event, or 17-340 of metrics: all was sent up to event 17 and step 340
    event: checkpoint   the event's type; `job`: the body of GET /jobs/{id}, when it has changed; `metrics`: new values
    data: {…}

`Last-Event-ID`, which browsers send when they connect again, is either form of the id, so that nothing is missed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from api.deps import Services
from api.jobs import job_body
from api.schemas import EventBody, MetricPoint
from jobs.records import JobRecord
from jobs.status import TERMINAL

POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
MOST_STREAMS = 64  # of one key at a time, in this process: each asks the database twice a second
PAGE = 200  # events, and steps of metrics, that are sent at once
_ID = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?")


@dataclass
class Cursor:
    """What has been sent. `step` is None where metrics are not wanted."""

    event: int
    step: int | None = None
    sent: dict[str, int] = field(default_factory=dict)  # the last step of each metric: some come later at the same step
    job: bytes = b""

    @classmethod
    def begin(cls, last: str, after: int, after_step: int | None) -> Cursor:
        """From `Last-Event-ID`, or from what the address says where there is none, or none of ours."""
        given = _ID.fullmatch(last)
        if given is None:
            return cls(after, after_step)
        step = after_step if given[2] is None or after_step is None else int(given[2])
        return cls(int(given[1]), step)


async def counted(services: Services, job_id: str, cursor: Cursor) -> AsyncIterator[bytes]:
    """The stream, counted while it is open."""
    services.streams[services.caller.key] += 1
    try:
        async for part in _stream(services, job_id, cursor):
            yield part
    finally:
        services.streams[services.caller.key] -= 1


async def _stream(services: Services, job_id: str, cursor: Cursor) -> AsyncIterator[bytes]:
    """Comments now and then keep proxies from closing a quiet connection."""
    yield b"retry: 2000\n\n"
    spoke = time.monotonic()
    while not services.draining.is_set() and await services.keyring.holds(services.caller):
        # The status is read before the events: what was written until a job came to rest is then never missed.
        record = await asyncio.to_thread(services.repository.get, job_id)
        page = await asyncio.to_thread(services.repository.events, job_id, after=cursor.event, limit=PAGE)
        parts = [_event(each) for each in page.data]
        cursor.event = page.data[-1].id if page.data else cursor.event
        more = page.has_more
        if cursor.step is not None:
            found, metrics_more = await asyncio.to_thread(_metrics, services, job_id, cursor)
            parts += [*found, *_job(record, cursor)]
            more = more or metrics_more
        for part in parts:
            yield part
            spoke = time.monotonic()
        if more:
            continue
        if record.status in TERMINAL or record.status == "paused":
            yield b"event: end\ndata: %s\n\n" % orjson.dumps({"status": str(record.status)})
            return
        if time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            yield b": still here\n\n"
            spoke = time.monotonic()
        await asyncio.sleep(POLL_SECONDS)


def event_body(record: Any) -> EventBody:
    """An event as the contract shows it."""
    return EventBody.model_validate(record, from_attributes=True)


def _event(record: Any) -> bytes:
    event = event_body(record)
    body = orjson.dumps(event.model_dump(mode="json"))
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.type.encode(), body)


def _metrics(services: Services, job_id: str, cursor: Cursor) -> tuple[list[bytes], bool]:
    """What was measured since (at the last step too: what is evaluated there comes later), and whether there is more."""
    assert cursor.step is not None
    page = services.repository.metrics(job_id, after_step=cursor.step - 1, limit=PAGE)
    new = [point for point in page.data if point.step > cursor.sent.get(point.name, -1)]
    if not new:
        return [], False
    cursor.sent |= {point.name: point.step for point in new}
    cursor.step = max(cursor.step, new[-1].step)
    points = [MetricPoint.model_validate(each, from_attributes=True).model_dump(mode="json") for each in new]
    return [
        b"id: %d-%d\nevent: metrics\ndata: %s\n\n" % (cursor.event, cursor.step, orjson.dumps({"data": points}))
    ], page.has_more


def _job(record: JobRecord, cursor: Cursor) -> list[bytes]:
    body = orjson.dumps(job_body(record).model_dump(mode="json"))
    if body == cursor.job:
        return []
    cursor.job = body
    return [b"event: job\ndata: %s\n\n" % body]
