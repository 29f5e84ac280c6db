"""What the database says about the whole service, for Prometheus: the same numbers whichever process is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.models import Delivery, Job, Tracking, Webhook
from jobs.status import TERMINAL, JobStatus


@dataclass(frozen=True)
class Figures:
    """Of all owners. Ages in seconds, 0 where there is nothing that ages."""

    jobs: dict[str, int]  # by status
    finished: dict[tuple[str, str], tuple[int, float]]  # by (kind, status): how many, and seconds from start to end
    attempts: dict[str, int]  # by kind
    oldest_queued: float  # of the jobs that no worker has taken yet
    overdue: int  # running, and their leases are over
    messages: dict[str, int]  # of the last week, by status
    oldest_message: float  # of those that wait for an enabled webhook
    webhooks: dict[str, int]  # enabled, disabled
    behind: dict[str, int]  # trackers that do not know all of a job, by name
    failing: dict[str, int] = field(default_factory=dict)  # those of them whose last attempt failed


def figures(database: Database) -> Figures:
    """Ten queries, none of which reads a row's large columns. Raises Unavailable."""
    with database.read() as session:
        now = database.now_ms(session)
        lasted = func.sum(Job.finished_ms - Job.started_ms)
        ends = select(Job.kind, Job.status, func.count(), lasted).where(Job.status.in_(TERMINAL)).group_by(Job.kind, Job.status)
        untaken = select(func.min(Job.created_ms)).where(Job.status == JobStatus.QUEUED, Job.attempt == 0)
        overdue = select(func.count()).select_from(Job).where(Job.status == JobStatus.RUNNING, Job.lease_ms < now)
        enabled = Webhook.disabled_ms.is_(None)
        waiting = select(func.min(Delivery.created_ms)).join(Webhook, Webhook.id == Delivery.webhook_id)
        disabled = session.scalar(select(func.count()).select_from(Webhook).where(~enabled)) or 0
        unsettled = select(Tracking.tracker, func.count()).where(Tracking.settled.is_(False)).group_by(Tracking.tracker)
        return Figures(
            jobs=_by(JobStatus, _counted(session, select(Job.status, func.count()).group_by(Job.status))),
            finished={
                (kind, str(status)): (count, float(milliseconds or 0) / 1000)
                for kind, status, count, milliseconds in session.execute(ends)
            },
            attempts=_counted(session, select(Job.kind, func.sum(Job.attempt)).group_by(Job.kind)),
            oldest_queued=_age(now, session.scalar(untaken)),
            overdue=session.scalar(overdue) or 0,
            messages=_by(
                ("pending", "delivered", "failed"),
                _counted(session, select(Delivery.status, func.count()).group_by(Delivery.status)),
            ),
            oldest_message=_age(now, session.scalar(waiting.where(Delivery.status == "pending", enabled))),
            webhooks={
                "enabled": (session.scalar(select(func.count()).select_from(Webhook)) or 0) - disabled,
                "disabled": disabled,
            },
            behind=_by(("tensorboard", "mlflow"), _counted(session, unsettled)),
            failing=_by(("tensorboard", "mlflow"), _counted(session, unsettled.where(Tracking.failures > 0))),
        )


def _counted(session: Session, query: Any) -> dict[str, int]:
    return {str(name): int(count or 0) for name, count in session.execute(query)}


def _by(names: Iterable[str], counted: dict[str, int]) -> dict[str, int]:
    """Zeros too, so that a graph begins before the first of a kind."""
    return {str(name): 0 for name in names} | counted


def _age(now: int, since: int | None) -> float:
    return 0.0 if since is None else max(0.0, (now - since) / 1000)
