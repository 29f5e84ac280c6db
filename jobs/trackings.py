"""Which trackers (TensorBoard, MLflow) have to be told of which job: claimed by a worker, told, and settled when the job rests.

What a tracker knows already, it is asked itself; here is only whose turn it is and what went wrong. Every change of a
job's state unsettles it (`outbox.announce`): a job that is resumed is told of again, in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.models import Job, Metric, Tracking
from jobs.records import JobRecord, Point
from jobs.rows import note, when
from jobs.status import JobStatus

WARN_AFTER = 3  # failures in a row, after which the job's events say so
FIRST_MS, LONGEST_MS = 5_000, 300_000  # between two attempts
GIVEN_UP_MS = 24 * 3_600_000  # of a job at rest whose tracker has been away for so long
_AWAKE = (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class Telling:
    """The right to tell a tracker of a job. kept: nobody else has told it since the holder last did."""

    job_id: str
    tracker: str
    holder: str
    run: str | None
    kept: bool


@dataclass(frozen=True)
class TrackingRecord:
    """How far a tracker is."""

    tracker: str
    run: str | None
    link: str | None
    told_at: datetime | None
    settled: bool
    error: str | None


class Trackings:
    """The table, for workers and for the API."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def claim(self, holder: str, lease_seconds: float) -> Telling | None:
        """What is due, and held by nobody else; or None."""
        with self.database.read() as session:  # looked for often, found seldom
            if session.scalar(self._due(holder, self.database.now_ms(session))) is None:
                return None
        with self.database.write() as session:
            now = self.database.now_ms(session)
            row = session.scalar(self._due(holder, now).with_for_update(skip_locked=True, of=Tracking))
            if row is None:
                return None
            kept = row.holder == holder and row.lease_ms > now
            row.holder, row.lease_ms = holder, now + int(1000 * lease_seconds)
            row.due_ms = row.lease_ms  # until it is recorded
            return Telling(row.job_id, row.tracker, holder, row.run, kept)

    def values(self, job_id: str, known: Mapping[str, int], limit: int) -> list[Point]:
        """Values by rising step, of each metric those after the step that is known; at most `limit`."""
        with self.database.read() as session:
            names = list(session.scalar(select(Job.metrics).where(Job.id == job_id)) or {})
            if not names:
                return []
            later = or_(*(and_(Metric.name == name, Metric.step > known.get(name, -1)) for name in names))
            query = select(Metric).where(Metric.job_id == job_id, later).order_by(Metric.step, Metric.name).limit(limit)
            return [Point(row.name, row.step, row.epoch, row.value, when(row.at_ms)) for row in session.scalars(query)]

    def told(self, telling: Telling, job: JobRecord, *, run: str, link: str | None, again_seconds: float, settled: bool) -> None:
        """It knows all that there was of `job`; look again after so long, or, when it is settled and still as it was then, only
        when its state changes."""
        with self.database.write() as session:
            row = self._held(session, telling)
            if row is not None:
                now = self.database.now_ms(session)
                there = session.get_one(Job, row.job_id)
                row.settled = settled and (there.status, there.attempt) == (job.status, job.attempt)
                row.run, row.link, row.told_ms = run, link, now
                row.failures, row.failing_ms, row.error = 0, None, None
                row.due_ms = now + int(1000 * again_seconds)

    def failed(self, telling: Telling, error: str) -> bool:
        """It could not be told; tried again later and later. Whether that is given up, a day after the job has come to rest."""
        with self.database.write() as session:
            row = self._held(session, telling)
            if row is None:
                return False
            now = self.database.now_ms(session)
            row.failures += 1
            row.failing_ms = row.failing_ms or now
            row.error = error[:300]
            row.due_ms = now + min(FIRST_MS * 2 ** min(row.failures - 1, 10), LONGEST_MS)
            job = session.get_one(Job, row.job_id)
            if row.failures == WARN_AFTER:
                text = f"{row.tracker} cannot be told of the job: {row.error}; it is tried again, and the job goes on"
                note(session, job, now, "warning", {"message": text})
            row.settled = job.status not in _AWAKE and now - row.failing_ms > GIVEN_UP_MS
            return row.settled

    def of(self, job_id: str) -> list[TrackingRecord]:
        """A job's trackers. Whether the caller may see the job has been looked at."""
        with self.database.read() as session:
            rows = session.scalars(select(Tracking).where(Tracking.job_id == job_id).order_by(Tracking.tracker))
            return [
                TrackingRecord(
                    row.tracker, row.run, row.link, None if row.told_ms is None else when(row.told_ms), row.settled, row.error
                )
                for row in rows
            ]

    @staticmethod
    def _held(session: Session, telling: Telling) -> Tracking | None:
        row = session.get(Tracking, (telling.job_id, telling.tracker), with_for_update=True)
        return row if row is not None and row.holder == telling.holder else None

    @staticmethod
    def _due(holder: str, now: int) -> Select[Any]:
        free = or_(Tracking.holder == holder, Tracking.holder.is_(None), Tracking.lease_ms <= now)
        query = select(Tracking).where(Tracking.settled.is_(False), Tracking.due_ms <= now, free)
        return query.order_by(Tracking.due_ms).limit(1)
