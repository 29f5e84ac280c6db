"""Every query and every change of state. Each public method is one transaction; nothing else writes a row.

Repository = jobs as users see them (here) + their life under a worker (lifecycle.py) + encoders, aliases and datasets
(catalogue.py). `repository.on_behalf_of(caller)` is the same for one caller: what that one may not see is not there.
"""

from __future__ import annotations

from typing import Self

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.access import Caller, must_control, page, seen_by
from jobs.catalogue import Catalogue
from jobs.curves import thinned
from jobs.errors import Conflict, TooMany
from jobs.ids import new_id
from jobs.lifecycle import Lifecycle
from jobs.models import Encoder, Event, Job, JobLabel, Metric, Tracking
from jobs.records import (
    AliasRecord,
    Claim,
    DatasetDraft,
    DatasetRecord,
    EncoderDraft,
    EncoderRecord,
    EventRecord,
    JobDraft,
    JobRecord,
    Page,
    Point,
    Report,
    ResultDraft,
)
from jobs.rows import as_many_as, find_job, job_record, made_by_key, must_have_dataset, note, remember_key, when
from jobs.status import JobStatus, check
from jobs.together import MOST, once


class Repository(Lifecycle, Catalogue):
    """The one way to the database."""

    def on_behalf_of(self, caller: Caller) -> Self:
        """The repository as this caller sees it; what is made belongs to the caller's owner, and events bear the name."""
        return type(self)(self.database.only(seen_by(caller)), caller)

    def ping(self) -> bool:
        """Whether the database answers. Raises Unavailable."""
        with self.database.read() as session:
            session.execute(text("SELECT 1"))
        return True

    # Submission

    def create(self, draft: JobDraft, *, max_queued: int | None = None) -> JobRecord:
        """A new queued job; with an idempotency key that made one before, that job. Raises KeyReused, and TooMany when the
        owner has `max_queued` jobs in the queue.
        """
        owner = self.caller.owner if draft.owner is None else draft.owner
        try:

            def made(session: Session) -> JobRecord:
                now = once(session, "now", lambda: self.database.now_ms(session))
                self._room(session, owner, max_queued)
                must_have_dataset(session, draft.spec)
                job = Job(
                    id=new_id("job"),
                    name=draft.name,
                    kind=draft.kind,
                    method=draft.method,
                    status=JobStatus.QUEUED,
                    created_ms=now,
                    woken_ms=now,
                    metrics={},
                    labels=draft.labels,
                    notes=draft.notes,
                    spec=draft.spec,
                    attempt=0,
                    failures=0,
                    claimed_step=0,
                    checkpoint_step=0,
                    owner=owner,
                    shared=draft.shared,
                    tracking=draft.tracking,
                    traceparent=draft.traceparent,
                )
                remember_key(session, self.caller.owner, "job", draft.idempotency_key, draft.request_hash, job.id, now)
                session.add(job)
                session.add_all(JobLabel(job_id=job.id, key=key, value=value) for key, value in draft.labels.items())
                session.add_all(Tracking(job_id=job.id, tracker=name, due_ms=now) for name in draft.tracking or {})
                note(session, job, now, "created", {"by": self.caller.name, "notes": draft.notes})
                return job_record(job)

            return self.database.together(made)
        except IntegrityError:
            if draft.idempotency_key is None:
                raise
            found = self.find_by_key(draft.idempotency_key, draft.request_hash)
            assert found is not None
            return found

    def find_by_key(self, key: str, request_hash: str) -> JobRecord | None:
        """The job that this Idempotency-Key made. Raises KeyReused if the body was another."""
        with self.database.read() as session:
            made = made_by_key(session, self.caller.owner, "job", key, request_hash)
            return None if made is None else job_record(find_job(session, made))

    @staticmethod
    def _room(session: Session, owner: str, most: int | None) -> None:
        if most is None:
            return
        queued = select(Job.id).where(Job.owner == owner, Job.status == JobStatus.QUEUED).order_by(Job.id)
        # Else there is room for all of the transaction.
        if once(session, f"queue of {owner}", lambda: as_many_as(session, queued, most - MOST)):
            session.flush()
            if as_many_as(session, queued, most):
                text = "jobs wait in the queue already, the most that one owner may have there; cancel some, or wait"
                raise TooMany(f"{most} {text}")

    # Reading

    def get(self, job_id: str) -> JobRecord:
        """One job. Raises NotFound."""
        with self.database.read() as session:
            return job_record(find_job(session, job_id))

    def list(
        self,
        *,
        limit: int = 20,
        after: str | None = None,
        status: str | None = None,
        method: str | None = None,
        kind: str | None = None,
        labels: dict[str, str] | None = None,
        mine: bool = False,
    ) -> Page[JobRecord]:
        """Jobs, newest first, beginning after the id `after`. `mine`: without what others share."""
        where: list[ColumnElement[bool]] = []
        if after is not None:
            where.append(Job.id < after)
        if mine:
            where.append(Job.owner.in_(self.caller.own))
        if status is not None:
            where.append(Job.status == status)
        if method is not None:
            where.append(Job.method == method)
        if kind is not None:
            where.append(Job.kind == kind)
        for key, value in (labels or {}).items():
            having = select(JobLabel.job_id).where(JobLabel.key == key, JobLabel.value == value)
            where.append(Job.id.in_(having))
        query = page(Job, self.caller, where, limit + 1)
        with self.database.read() as session:
            records = [job_record(job) for job in session.scalars(query)]
        return Page(records[:limit], len(records) > limit)

    def metrics(self, job_id: str, *, name: str | None = None, after_step: int | None = None, limit: int = 1000) -> Page[Point]:
        """Values by rising step (then name). Raises NotFound.

        A page ends with a whole step, since its last step is the next page's cursor: with a step of more than `limit` values
        the page is longer than `limit`.
        """
        query = select(Metric).where(Metric.job_id == job_id).order_by(Metric.step, Metric.name).limit(limit + 1)
        if name is not None:
            query = query.where(Metric.name == name)
        if after_step is not None:
            query = query.where(Metric.step > after_step)
        with self.database.read() as session:
            find_job(session, job_id)
            rows = list(session.scalars(query))
            more = len(rows) > limit
            if more:
                cut = rows[limit].step
                rows = [row for row in rows if row.step < cut]
                if not rows:  # one step fills the page
                    whole = query.where(Metric.step <= cut).limit(None)
                    rows = list(session.scalars(whole))
                    more = session.scalar(query.where(Metric.step > cut).limit(1)) is not None
            points = [_point(row) for row in rows]
        return Page(points, more)

    def curves(self, job_id: str, points: int, *, name: str | None = None, after_step: int | None = None) -> Page[Point]:
        """The same in at most `points` values of each name, for drawing. Raises NotFound."""
        with self.database.read() as session:
            find_job(session, job_id)
            found = thinned(session, job_id, points, name=name, after_step=after_step)
            return Page([_point(row) for row in found], False)

    def events(self, job_id: str, *, after: int | None = None, limit: int = 200) -> Page[EventRecord]:
        """What happened, oldest first, beginning after the event `after`. Raises NotFound."""
        query = select(Event).where(Event.job_id == job_id, Event.id > (after or 0)).order_by(Event.id).limit(limit + 1)
        with self.database.read() as session:
            find_job(session, job_id)
            events = [EventRecord(row.id, when(row.at_ms), row.type, row.data) for row in session.scalars(query)]
        return Page(events[:limit], len(events) > limit)

    # What users ask for

    def request_cancel(self, job_id: str) -> JobRecord:
        """Cancel: at once what is not running, at the next heartbeat what is. Raises NotFound, Conflict (finished)."""
        with self.database.write() as session:
            job = self._controlled(session, job_id)
            if job.status == JobStatus.CANCELLED:
                return job_record(job)
            if job.status != JobStatus.RUNNING:
                check(job.id, JobStatus(job.status), JobStatus.CANCELLED)
                now = self.database.now_ms(session)
                job.status, job.finished_ms = JobStatus.CANCELLED, now
                note(session, job, now, "cancelled", {"by": self.caller.name, "why": "cancel"})
            elif job.requested != "cancel":
                job.requested, job.requested_by = "cancel", self.caller.name
                note(session, job, self.database.now_ms(session), "cancel_requested", {"by": self.caller.name})
            return job_record(job)

    def request_pause(self, job_id: str) -> JobRecord:
        """Pause a running job at its next heartbeat, after a checkpoint. Raises NotFound, Conflict."""
        with self.database.write() as session:
            job = self._controlled(session, job_id)
            if job.status == JobStatus.PAUSED:
                return job_record(job)
            check(job.id, JobStatus(job.status), JobStatus.PAUSED)
            if job.requested == "cancel":
                raise Conflict(f"{job_id} is being cancelled and cannot be paused")
            if job.requested is None:
                job.requested, job.requested_by = "pause", self.caller.name
                note(session, job, self.database.now_ms(session), "pause_requested", {"by": self.caller.name})
            return job_record(job)

    def resume(self, job_id: str) -> JobRecord:
        """Queue a paused, failed or cancelled job again; it goes on from its last checkpoint. Raises NotFound, Conflict."""
        with self.database.write() as session:
            job = self._controlled(session, job_id)
            if job.status == JobStatus.RUNNING and job.requested == "pause":
                job.requested = None  # the pause had not happened yet
                note(session, job, self.database.now_ms(session), "pause_withdrawn", {"by": self.caller.name})
            elif job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
                check(job.id, JobStatus(job.status), JobStatus.QUEUED)
                must_have_dataset(session, job.spec)
                now = self.database.now_ms(session)
                job.status, job.woken_ms, job.finished_ms = JobStatus.QUEUED, now, None
                job.failures, job.error = 0, None
                note(session, job, now, "queued", {"by": self.caller.name, "why": "resumed"})
            return job_record(job)

    def share(self, job_id: str, shared: bool) -> JobRecord:
        """Let all see a job and what it has made, or its owner only. Raises NotFound, NotAllowed."""
        with self.database.write() as session:
            job = self._controlled(session, job_id)
            if job.shared != shared:
                job.shared = shared
                if job.encoder_id is not None and (encoder := session.get(Encoder, job.encoder_id)) is not None:
                    encoder.shared = shared
                what = "shared" if shared else "unshared"
                note(session, job, self.database.now_ms(session), what, {"by": self.caller.name})
            return job_record(job)

    def _controlled(self, session: Session, job_id: str) -> Job:
        """The row, locked, of a job that the caller may change. Raises NotFound, NotAllowed."""
        job = find_job(session, job_id, lock=True)
        must_control(self.caller, job.owner, f"job {job_id}")
        return job


__all__ = [
    "AliasRecord",
    "Claim",
    "DatasetDraft",
    "DatasetRecord",
    "EncoderDraft",
    "EncoderRecord",
    "EventRecord",
    "JobDraft",
    "JobRecord",
    "Page",
    "Point",
    "Report",
    "Repository",
    "ResultDraft",
]


def _point(row: Metric) -> Point:
    return Point(row.name, row.step, row.epoch, row.value, when(row.at_ms))
