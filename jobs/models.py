"""The tables. Times are milliseconds since 1970 by the database's clock; JSON columns hold plain objects.

Rows name each other by id. A relationship is there only where rows of several tables are written in one go: it tells which must
be there first.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

_Id = String(32)
_Owner = String(64)  # "": everybody
_AutoId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only


class Base(DeclarativeBase):
    """What Alembic compares with the database."""


class Job(Base):
    """One row per job. `attempt` is the fencing number: a write by another attempt changes nothing."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str | None] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(20))
    method: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(12))
    requested: Mapped[str | None] = mapped_column(String(10))  # "cancel" or "pause", while running
    requested_by: Mapped[str | None] = mapped_column(String(64))  # the name of the key that asked for it
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)  # attempts in a row that ended without progress
    claimed_step: Mapped[int] = mapped_column(default=0)  # the last checkpoint when this attempt began
    checkpoint_step: Mapped[int] = mapped_column(default=0)  # the last checkpoint
    worker: Mapped[str | None] = mapped_column(String(200))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    finished_ms: Mapped[int | None] = mapped_column(BigInteger)
    lease_ms: Mapped[int | None] = mapped_column(BigInteger)  # when the lease ends
    woken_ms: Mapped[int] = mapped_column(BigInteger)  # when a wake-up was last sent or about to be
    phase: Mapped[str | None] = mapped_column(String(20))
    encoder_id: Mapped[str | None] = mapped_column(_Id)
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    health: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    labels: Mapped[dict[str, Any]] = mapped_column(JSON)
    notes: Mapped[list[str]] = mapped_column(JSON)  # what was chosen for the user, and warnings
    data: Mapped[dict[str, Any] | None] = mapped_column(JSON)  # what the trainer found: counts, unreadable files
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # of kinds that make no encoder
    owner: Mapped[str] = mapped_column(_Owner, default="")
    shared: Mapped[bool] = mapped_column(default=False)  # seen by all, changed by its owner only
    tracking: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # which trackers are told of it
    traceparent: Mapped[str | None] = mapped_column(String(64))  # of the request that made it (W3C Trace Context)

    __table_args__ = (
        Index("ix_jobs_status", "status", "id"),
        Index("ix_jobs_method", "method", "id"),
        Index("ix_jobs_owner", "owner", "id"),
        Index("ix_jobs_queue", "owner", "status", "id"),
        Index("ix_jobs_woken", "status", "woken_ms"),
        Index("ix_jobs_shared", "shared", "id"),
        Index("ix_jobs_kind", "kind", "id"),
    )


class JobLabel(Base):
    """The labels again, one a row, to filter by."""

    __tablename__ = "job_labels"

    job_id: Mapped[str] = mapped_column(_Id, ForeignKey("jobs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[str] = mapped_column(String(500))
    job: Mapped[Job] = relationship(lazy="raise")

    __table_args__ = (Index("ix_job_labels_key_value", "key", "value", "job_id"),)


class Metric(Base):
    """A value of a named metric at a step. A step that is trained again after a crash replaces its row."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(_Id, ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer)
    value: Mapped[float | None]  # null where the trainer had NaN or an infinity
    at_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_metrics_steps", "job_id", "step", "name"),)


class Event(Base):
    """What happened to a job: every change of state with who and why, warnings, phases."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(_AutoId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(_Id, ForeignKey("jobs.id"))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(String(30))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    job: Mapped[Job] = relationship(lazy="raise")

    __table_args__ = (Index("ix_events_job", "job_id", "id"),)


class Encoder(Base):
    """A published encoder; its files lie in `folder`, below the home."""

    __tablename__ = "encoders"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    job_id: Mapped[str] = mapped_column(_Id, ForeignKey("jobs.id"), unique=True)
    arch: Mapped[str] = mapped_column(String(100))
    dim: Mapped[int]
    method: Mapped[str] = mapped_column(String(40))
    created_ms: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]] = mapped_column(JSON)
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    folder: Mapped[str] = mapped_column(Text)
    owner: Mapped[str] = mapped_column(_Owner, default="")  # its job's, as is the next
    shared: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        Index("ix_encoders_created", "created_ms", "id"),
        Index("ix_encoders_owner", "owner", "id"),
        Index("ix_encoders_shared", "shared", "id"),
    )


class Alias(Base):
    """A user's own name for an encoder."""

    __tablename__ = "aliases"

    owner: Mapped[str] = mapped_column(_Owner, primary_key=True, default="")
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    encoder_id: Mapped[str] = mapped_column(_Id, ForeignKey("encoders.id"))
    updated_ms: Mapped[int] = mapped_column(BigInteger)


class Dataset(Base):
    """A named folder below the data root."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    path: Mapped[str] = mapped_column(Text)
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    owner: Mapped[str] = mapped_column(_Owner, default="")

    __table_args__ = (Index("ix_datasets_owner", "owner", "id"),)


class IdempotencyKey(Base):
    """What a POST with an Idempotency-Key made."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(_Owner, primary_key=True, default="")
    scope: Mapped[str] = mapped_column(String(20), primary_key=True)  # "job" or "dataset"
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    made_id: Mapped[str] = mapped_column(_Id)
    created_ms: Mapped[int] = mapped_column(BigInteger)


class ApiKey(Base):
    """A key; the secret itself is nowhere. Rows stay when a key has ended."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(_Owner)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    shown: Mapped[str] = mapped_column(String(20))  # the beginning of the secret
    digest: Mapped[str] = mapped_column(String(64), unique=True)  # its SHA-256
    created_ms: Mapped[int] = mapped_column(BigInteger)
    expires_ms: Mapped[int | None] = mapped_column(BigInteger)
    used_ms: Mapped[int | None] = mapped_column(BigInteger)
    revoked_ms: Mapped[int | None] = mapped_column(BigInteger)


class EndedSession(Base):
    """A browser's session that was logged out; of the others nothing is stored. Kept until it would have ended by itself."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    until_ms: Mapped[int] = mapped_column(BigInteger)


class Webhook(Base):
    """An address that is told what happens to its owner's jobs."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    owner: Mapped[str] = mapped_column(_Owner, default="")
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(JSON)
    secret: Mapped[str] = mapped_column(String(100))  # whsec_…: messages are signed with it, so it cannot be a digest
    created_ms: Mapped[int] = mapped_column(BigInteger)
    # Until when a courier has it: one message at a time. Or its receiver wants to be left alone.
    lease_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    delivered_ms: Mapped[int | None] = mapped_column(BigInteger)  # when it last took a message
    delivered: Mapped[int] = mapped_column(default=0)  # messages that it took, for ever
    failed: Mapped[int] = mapped_column(default=0)  # messages that were given up
    disabled_ms: Mapped[int | None] = mapped_column(BigInteger)
    disabled_why: Mapped[str | None] = mapped_column(String(300))

    __table_args__ = (Index("ix_webhooks_owner", "owner", "id"),)


class Delivery(Base):
    """A message to a webhook, written in the transaction of what it tells: the outbox, and its log."""

    __tablename__ = "deliveries"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)  # the webhook-id that receivers see
    webhook_id: Mapped[str] = mapped_column(_Id, ForeignKey("webhooks.id"))
    type: Mapped[str] = mapped_column(String(30))
    job_id: Mapped[str | None] = mapped_column(_Id)
    body: Mapped[str] = mapped_column(Text)  # the very bytes that are signed and sent
    created_ms: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(10))  # pending, delivered, failed
    attempts: Mapped[int] = mapped_column(default=0)  # begun; the fencing number of their records
    due_ms: Mapped[int] = mapped_column(BigInteger)  # not sent before
    tried_ms: Mapped[int | None] = mapped_column(BigInteger)  # when the last attempt ended
    answer: Mapped[int | None] = mapped_column(Integer)  # its HTTP status
    error: Mapped[str | None] = mapped_column(String(300))  # and what was wrong

    __table_args__ = (
        Index("ix_deliveries_due", "status", "due_ms"),
        Index("ix_deliveries_webhook", "webhook_id", "id"),
    )


class Tracking(Base):
    """A tracker (TensorBoard, MLflow) that is told of a job. How far it is, the tracker itself knows."""

    __tablename__ = "trackings"

    job_id: Mapped[str] = mapped_column(_Id, ForeignKey("jobs.id"), primary_key=True)
    tracker: Mapped[str] = mapped_column(String(20), primary_key=True)
    run: Mapped[str | None] = mapped_column(String(64))  # what the tracker calls the job
    link: Mapped[str | None] = mapped_column(Text)
    holder: Mapped[str | None] = mapped_column(String(80))  # the worker that tells it, until `lease_ms`
    lease_ms: Mapped[int] = mapped_column(BigInteger, default=0)
    due_ms: Mapped[int] = mapped_column(BigInteger)
    failures: Mapped[int] = mapped_column(default=0)  # in a row
    failing_ms: Mapped[int | None] = mapped_column(BigInteger)  # since when
    error: Mapped[str | None] = mapped_column(String(300))
    told_ms: Mapped[int | None] = mapped_column(BigInteger)
    settled: Mapped[bool] = mapped_column(default=False)  # all of a job at rest is there, or it was given up
    job: Mapped[Job] = relationship(lazy="raise")

    __table_args__ = (Index("ix_trackings_due", "settled", "due_ms"),)
