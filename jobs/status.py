"""The life of a job, and the one table of what may follow what.

                    a                    b
    (created) ──► queued ──────────► running ──────────► succeeded
                   ▲ │ ▲               │ │ │    c  ────► failed
                   │ │ └───────d───────┘ │ └───────────► cancelled
                   │ │                   e
                   │ └──f─► cancelled    ▼
                   └─────────g──────── paused ──f─► cancelled
        failed, cancelled ──g─► queued

a  a worker claims it: the attempt number rises and is the fencing number of every later write
b  the encoder is published and recorded in the same transaction
c  the trainer said that it would fail again, or crashed too often without progress; or the user cancelled
d  the lease ran out, the trainer crashed with progress, or the worker was shut down
e  the user asked for a pause, and the checkpoint is written
f  the user cancelled what was not running
g  the user resumed it: it goes on from its last checkpoint

Cancel and pause of a *running* job are requests (`requested`), not states: the supervisor sees them at its next heartbeat.
"""

from __future__ import annotations

from enum import StrEnum

from jobs.errors import Conflict


class JobStatus(StrEnum):
    """The six states."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = JobStatus

TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.PAUSED, _S.QUEUED}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset({_S.QUEUED}),
    _S.CANCELLED: frozenset({_S.QUEUED}),
}

TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})


def check(job_id: str, now: JobStatus, then: JobStatus) -> None:
    """Raise Conflict unless `then` may follow `now`."""
    if then not in TRANSITIONS[now]:
        allowed = ", ".join(sorted(TRANSITIONS[now])) or "nothing"
        raise Conflict(f"{job_id} is {now} and cannot become {then}; from {now} a job can become {allowed}")
