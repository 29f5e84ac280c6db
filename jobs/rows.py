"""Between rows and records."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from jobs import logs
from jobs.database import told_at_commit
from jobs.errors import Conflict, KeyReused, NotFound
from jobs.models import Alias, Dataset, Encoder, Event, IdempotencyKey, Job
from jobs.outbox import announce
from jobs.records import DatasetRecord, EncoderRecord, JobRecord


def when(milliseconds: int) -> datetime:
    """An aware time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def find_job(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """The row, locked against other writers if asked (on SQLite the transaction does that). Raises NotFound."""
    query = select(Job).where(Job.id == job_id)
    job = session.scalar(query.with_for_update() if lock else query)
    if job is None:
        raise NotFound(f"there is no job {job_id!r}")
    return job


def as_many_as(session: Session, query: Select[Any], count: int) -> bool:
    """Whether a query, which is ordered, has that many rows: no more of them are looked at."""
    return count <= 0 or session.connection().scalar(query.offset(count - 1).limit(1)) is not None


def must_have_dataset(session: Session, spec: dict[str, Any]) -> None:
    """That the dataset of a job's spec, if it has one, is there, and stays until the transaction ends. Raises Conflict.

    Asked when a job becomes unfinished: from then on the dataset cannot be deleted (`Catalogue.delete_dataset`).
    """
    data = spec.get("data")
    dataset = data.get("dataset") if isinstance(data, dict) else None
    if dataset is not None:
        query = select(Dataset.id).where(Dataset.id == dataset).with_for_update(read=True)
        if session.connection().execute(query).first() is None:
            raise Conflict(f"its dataset {dataset} has been deleted")


def note(session: Session, job: Job, now: int, type_: str, data: dict[str, Any]) -> None:
    """Add to what happened to the job, and tell the webhooks that listen to it."""
    session.add(Event(job_id=job.id, at_ms=now, type=type_, data={"attempt": job.attempt, **data}))
    if "by" in data:  # somebody did it: it is said in the log as well, once it is true
        told: dict[str, Any] = {"job": job.id, "attempt": job.attempt, "by": data["by"], "why": data.get("why")}
        told_at_commit(
            session,
            f"{job.id} {type_.replace('_', ' ')}",
            {**logs.about(), **{name: value for name, value in told.items() if value is not None}},
        )
    announce(session, job, now, type_, data)


def made_by_key(session: Session, owner: str, scope: str, key: str, request_hash: str) -> str | None:
    """The id of what an Idempotency-Key made, if anything. Raises KeyReused if the body was another."""
    row = session.get(IdempotencyKey, (owner, scope, key))
    if row is None:
        return None
    if row.request_hash != request_hash:
        raise KeyReused(f"Idempotency-Key {key!r} was used with another body; use a new key for a new request")
    return row.made_id


def remember_key(session: Session, owner: str, scope: str, key: str | None, request_hash: str, made_id: str, now: int) -> None:
    """Tie a key, if there is one, to what it made; a second one is an IntegrityError at the flush."""
    if key is not None:
        session.add(IdempotencyKey(owner=owner, scope=scope, key=key, request_hash=request_hash, made_id=made_id, created_ms=now))


def job_record(job: Job) -> JobRecord:
    """A row as a value."""
    return JobRecord(
        id=job.id,
        name=job.name,
        kind=job.kind,
        method=job.method,
        status=str(job.status),
        requested=job.requested,
        attempt=job.attempt,
        created_at=when(job.created_ms),
        started_at=None if job.started_ms is None else when(job.started_ms),
        finished_at=None if job.finished_ms is None else when(job.finished_ms),
        phase=job.phase,
        progress=job.progress,
        metrics=job.metrics,
        health=job.health,
        error=job.error,
        labels=job.labels,
        notes=job.notes,
        data=job.data,
        spec=job.spec,
        encoder_id=job.encoder_id,
        result=job.result,
        owner=job.owner,
        shared=job.shared,
        tracking=job.tracking,
    )


def encoder_records(session: Session, encoders: list[Encoder]) -> list[EncoderRecord]:
    """Rows as values, with their aliases."""
    names: dict[str, list[str]] = {}
    wanted = [encoder.id for encoder in encoders]
    for alias in session.scalars(select(Alias).where(Alias.encoder_id.in_(wanted)).order_by(Alias.name)):
        names.setdefault(alias.encoder_id, []).append(alias.name)
    return [
        EncoderRecord(
            id=row.id,
            job_id=row.job_id,
            arch=row.arch,
            dim=row.dim,
            method=row.method,
            created_at=when(row.created_ms),
            metrics=row.metrics,
            aliases=names.get(row.id, []),
            sha256=row.sha256,
            size_bytes=row.size_bytes,
            folder=row.folder,
            owner=row.owner,
            shared=row.shared,
        )
        for row in encoders
    ]


def dataset_record(row: Dataset) -> DatasetRecord:
    """A row as a value."""
    return DatasetRecord(row.id, row.name, row.path, when(row.created_ms), row.facts, row.owner)
