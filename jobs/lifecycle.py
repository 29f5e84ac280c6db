"""A job's life under a worker: claim, report, end. Every write after the claim names its attempt, the fencing number."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from jobs.database import Database
from jobs.errors import Fenced
from jobs.ids import encoder_id
from jobs.models import Encoder, Job, Metric
from jobs.outbox import announce
from jobs.records import Claim, EncoderDraft, Json, Point, Report, ResultDraft
from jobs.rows import find_job, note
from jobs.status import JobStatus, check

Requested = Literal["cancel", "pause"]
Why = Literal["cancel", "pause", "shutdown", "lapsed"]


_AT_THE_START = {"epoch": 0, "step": 0, "fraction": 0.0}


class Lifecycle:
    """The writes of supervisors and sweepers."""

    database: Database

    def claim(self, job_id: str, worker: str, lease_seconds: float) -> Claim | None:
        """Take a queued job, or learn that someone else has: one compare-and-set."""
        with self.database.write() as session:
            now = self.database.now_ms(session)
            taken = session.execute(
                update(Job)
                .where(Job.id == job_id, Job.status == JobStatus.QUEUED)
                .values(
                    status=JobStatus.RUNNING,
                    attempt=Job.attempt + 1,
                    worker=worker,
                    lease_ms=now + int(1000 * lease_seconds),
                    claimed_step=Job.checkpoint_step,
                    requested=None,
                    error=None,
                )
                .returning(Job.id)
            ).first()
            if taken is None:
                return None
            job = find_job(session, job_id)
            if job.started_ms is None:
                job.started_ms = now
            note(session, job, now, "running", {"by": worker})
            return Claim(job.id, job.attempt, job.spec, job.kind, job.traceparent)

    def record(self, job_id: str, attempt: int, report: Report, lease_seconds: float) -> Requested | None:
        """Write what a trainer said and renew the lease; returns what the user asked for meanwhile. Raises Fenced."""
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            now = self.database.now_ms(session)
            job.lease_ms = now + int(1000 * lease_seconds)
            if report.progress is not None:
                # While it prepares, a job is at its first step, or at that of the attempt before.
                known = {} if "step" in report.progress else {**_AT_THE_START, **(job.progress or {})}
                job.progress = {**known, **report.progress}
            if report.phase is not None:
                job.phase = report.phase
            if report.health is not None:
                before, job.health = (job.health or {}).get("verdict"), report.health
                if report.health.get("verdict") != before:
                    announce(session, job, now, "health", {"by": job.worker, "before": before})
            if report.data is not None:
                job.data = report.data
            if report.checkpoint_step is not None:
                job.checkpoint_step = report.checkpoint_step
            if report.points:
                job.metrics = {**job.metrics, **{point.name: point.value for point in report.points}}
                _upsert(session, job_id, report.points)
            for type_, data in report.events:
                note(session, job, now, type_, data)
                if type_ == "note" and data.get("message") not in job.notes:  # what the trainer chose, once
                    job.notes = [*job.notes, str(data.get("message"))]
            return job.requested  # type: ignore[return-value]

    def succeed(self, job_id: str, attempt: int, draft: EncoderDraft) -> str:
        """The job is done and its encoder is in place, recorded together; returns the encoder's id. Raises Fenced."""
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            now = self.database.now_ms(session)
            new = encoder_id(job_id)
            session.add(
                Encoder(
                    id=new,
                    job_id=job_id,
                    arch=draft.arch,
                    dim=draft.dim,
                    method=draft.method,
                    created_ms=now,
                    metrics=draft.metrics,
                    sha256=draft.sha256,
                    size_bytes=draft.size_bytes,
                    folder=draft.folder,
                    owner=job.owner,
                    shared=job.shared,
                )
            )
            job.encoder_id = new
            _end(session, job, JobStatus.SUCCEEDED, now, {"by": job.worker, "encoder": new})
            return new

    def finish(self, job_id: str, attempt: int, draft: ResultDraft) -> None:
        """The job is done and its files are in place, recorded together. Raises Fenced."""
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            job.result = {"folder": draft.folder, **draft.facts}
            _end(session, job, JobStatus.SUCCEEDED, self.database.now_ms(session), {"by": job.worker, "result": draft.facts})

    def fail(self, job_id: str, attempt: int, error: Json) -> None:
        """The job would fail again the same way. Raises Fenced."""
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            job.error = error
            _end(session, job, JobStatus.FAILED, self.database.now_ms(session), {"by": job.worker, "error": error})

    def stopped(self, job_id: str, attempt: int, why: Why) -> JobStatus:
        """The trainer ended because it was told to, for the reason `why`; returns what became of the job. Raises Fenced.

        What the user asks for *now* decides what becomes of the job: a cancel may have come while a checkpoint for a pause or
        a shutdown was written, and a pause may have been withdrawn. Asked for nothing, the job is queued again.
        """
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            asked = {"cancel": JobStatus.CANCELLED, "pause": JobStatus.PAUSED}
            status = asked.get(job.requested or "", JobStatus.QUEUED)
            data = (
                {"by": job.worker, "why": why}
                if status == JobStatus.QUEUED
                else {"by": job.requested_by or "user", "why": job.requested}
            )
            _end(session, job, status, self.database.now_ms(session), data)
            return status

    def crashed(self, job_id: str, attempt: int, error: Json, max_attempts: int) -> JobStatus:
        """The trainer died; returns what became of the job. Raises Fenced.

        With a newer checkpoint than it began with, or fewer than `max_attempts` in a row without one, it is queued again.
        """
        with self.database.write() as session:
            job = _fenced(session, job_id, attempt)
            return _crash(session, job, self.database.now_ms(session), error, max_attempts)

    def expire_leases(self, max_attempts: int) -> list[str]:
        """Deal with jobs whose supervisor was not heard of in time; returns those that are queued again."""
        with self.database.write() as session:
            now = self.database.now_ms(session)
            lost = select(Job).where(Job.status == JobStatus.RUNNING, Job.lease_ms < now).with_for_update(skip_locked=True)
            queued = []
            for job in session.scalars(lost).all():
                error = {
                    "code": "worker_lost",
                    "message": f"the worker {job.worker} was not heard of for the length of a lease",
                    "hint": "look at that machine's memory, disk and network; the job goes on from its checkpoint when resumed",
                }
                if _crash(session, job, now, error, max_attempts) == JobStatus.QUEUED:
                    queued.append(job.id)
            return queued

    def stale_queued(self, older_than_seconds: float, limit: int = 100) -> list[str]:
        """Queued jobs whose last wake-up is older than that, oldest first; they count as woken now."""
        with self.database.write() as session:
            now = self.database.now_ms(session)
            before = now - int(1000 * older_than_seconds)
            waiting = select(Job.id).where(Job.status == JobStatus.QUEUED, Job.woken_ms < before).order_by(Job.id).limit(limit)
            ids = list(session.scalars(waiting.with_for_update(skip_locked=True)))
            if ids:
                session.execute(update(Job).where(Job.id.in_(ids)).values(woken_ms=now))
            return ids

    def requested(self, job_id: str, attempt: int) -> Requested | None:
        """What the user asks for, without a write, for looking often. Raises Fenced."""
        with self.database.read() as session:
            return _fenced(session, job_id, attempt, lock=False).requested  # type: ignore[return-value]


def _fenced(session: Session, job_id: str, attempt: int, *, lock: bool = True) -> Job:
    job = find_job(session, job_id, lock=lock)
    if job.attempt != attempt or job.status != JobStatus.RUNNING:
        raise Fenced(f"attempt {attempt} of {job_id} may no longer write: the job is {job.status} in attempt {job.attempt}")
    return job


def _end(session: Session, job: Job, status: JobStatus, now: int, data: dict[str, Any]) -> None:
    check(job.id, JobStatus(job.status), status)
    job.status, job.requested, job.lease_ms, job.phase = status, None, None, None
    if status == JobStatus.QUEUED:
        job.woken_ms = now
    elif status != JobStatus.PAUSED:
        job.finished_ms = now
    note(session, job, now, status.value, data)


def _crash(session: Session, job: Job, now: int, error: Json, max_attempts: int) -> JobStatus:
    job.failures = 0 if job.checkpoint_step > job.claimed_step else job.failures + 1
    data: dict[str, Any] = {"by": job.worker, "why": "crashed", "error": error}
    if job.requested == "cancel":
        status = JobStatus.CANCELLED
    elif job.requested == "pause":
        status = JobStatus.PAUSED
    elif job.failures < max_attempts:
        status = JobStatus.QUEUED
    else:
        status = JobStatus.FAILED
        tries = "once" if max_attempts == 1 else f"{job.failures} times in a row"
        job.error = {**error, "message": f"{error['message']} ({tries} without progress)"}
    _end(session, job, status, now, data)
    return status


def _upsert(session: Session, job_id: str, points: list[Point]) -> None:
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    latest = {(point.name, point.step): point for point in points}  # one statement must not touch a row twice
    rows = [
        {
            "job_id": job_id,
            "name": point.name,
            "step": point.step,
            "epoch": point.epoch,
            "value": point.value,
            "at_ms": int(point.at.timestamp() * 1000),
        }
        for point in latest.values()
    ]
    # Of the table, not the class: one statement with many sets of values, ten times faster on a burst.
    statement = insert(Metric.__table__)  # type: ignore[arg-type]
    replace = {name: getattr(statement.excluded, name) for name in ("epoch", "value", "at_ms")}
    session.execute(statement.on_conflict_do_update(index_elements=["job_id", "name", "step"], set_=replace), rows)
