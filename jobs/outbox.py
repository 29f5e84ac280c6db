"""What webhooks are told: a message for each, written in the very transaction of the change that it tells.

So a message exists exactly if the change does; sending it is `worker/courier.py`'s affair, as often as it takes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from jobs.ids import new_id
from jobs.models import Delivery, Job, Tracking, Webhook
from jobs.together import once

# An event of a job -> the type of the message. Others are for the job's own list.
ANNOUNCED = {
    "created": "job.queued",
    "queued": "job.queued",
    "running": "job.running",
    "paused": "job.paused",
    "succeeded": "job.succeeded",
    "failed": "job.failed",
    "cancelled": "job.cancelled",
    "health": "job.health",
}
TYPES = tuple(dict.fromkeys(ANNOUNCED.values()))
TEST = "webhook.test"
_LONG = ("notes",)  # of an event: long, and in the body of the job anyway


def announce(session: Session, job: Job, now: int, event: str, data: dict[str, Any]) -> None:
    """A message to each webhook of the job's owner that listens to this; and its trackers have something to be told."""
    type_ = ANNOUNCED.get(event)
    if type_ is None:
        return
    if job.tracking:
        session.execute(update(Tracking).where(Tracking.job_id == job.id).values(settled=False))
    table = Webhook.__table__.c  # not the class: what the caller may see has no say in who is told
    listening = select(table.id, table.events).where(table.owner == job.owner, table.disabled_ms.is_(None))
    # Held until the commit: a webhook that is being deleted must not take the change of a job with it.
    held = listening.with_for_update(read=True, key_share=True)
    hooks = once(session, f"webhooks of {job.owner}", lambda: session.connection().execute(held).all())
    found = [row.id for row in hooks if type_ in row.events]
    if found:
        session.flush()  # the job may be new
        why = {name: value for name, value in data.items() if name not in _LONG}
        body = message(type_, now, {"job": _told(job), "why": why})
        session.execute(insert(Delivery), [draft(webhook, type_, body, now, job.id) for webhook in found])


def draft(webhook_id: str, type_: str, body: str, now: int, job_id: str | None = None) -> dict[str, Any]:
    """The values of a new row."""
    return {
        "id": new_id("msg"),
        "webhook_id": webhook_id,
        "type": type_,
        "job_id": job_id,
        "body": body,
        "created_ms": now,
        "due_ms": now,
        "status": "pending",
        "attempts": 0,
    }


def message(type_: str, now: int, data: dict[str, Any]) -> str:
    """The body: `type`, `timestamp` and `data`, as Standard Webhooks has them."""
    return json.dumps({"type": type_, "timestamp": _iso(now), "data": data}, ensure_ascii=False)


def _told(job: Job) -> dict[str, Any]:
    """A job without its spec: enough to act upon; the rest is behind the link."""
    return {
        "id": job.id,
        "name": job.name,
        "kind": job.kind,
        "method": job.method,
        "status": str(job.status),
        "attempt": job.attempt,
        "labels": job.labels,
        "created_at": _iso(job.created_ms),
        "finished_at": None if job.finished_ms is None else _iso(job.finished_ms),
        "metrics": job.metrics,
        "health": job.health,
        "encoder": job.encoder_id,
        "error": job.error,
        "links": {"self": f"/jobs/{job.id}"},
    }


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
