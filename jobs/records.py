"""What the repository hands out and takes in: frozen values, never rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class JobDraft:
    """A job to be created. The spec is complete."""

    name: str | None
    kind: str
    method: str
    spec: Json
    labels: dict[str, str] = field(default_factory=dict)
    idempotency_key: str | None = None
    request_hash: str = ""
    notes: list[str] = field(default_factory=list)
    shared: bool = False
    owner: str | None = None  # None: whoever creates it
    tracking: Json | None = None  # {tracker: its settings}
    traceparent: str | None = None


@dataclass(frozen=True)
class JobRecord:
    """A job as it stood at the time of the query. Times are aware, in UTC."""

    id: str
    name: str | None
    kind: str
    method: str
    status: str
    requested: str | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    phase: str | None
    progress: Json | None
    metrics: Json
    health: Json | None
    error: Json | None
    labels: dict[str, str]
    notes: list[str]
    data: Json | None
    spec: Json
    encoder_id: str | None
    result: Json | None = None  # of a kind that makes no encoder, once there is one
    owner: str = ""  # "": everybody
    shared: bool = False
    tracking: Json | None = None


@dataclass(frozen=True)
class Claim:
    """The right to run a job: every write names this attempt."""

    job_id: str
    attempt: int
    spec: Json
    kind: str = "pretrain"
    traceparent: str | None = None


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    name: str
    step: int
    epoch: int
    value: float | None
    at: datetime


@dataclass(frozen=True)
class EventRecord:
    """One thing that happened; `id` rises."""

    id: int
    at: datetime
    type: str
    data: Json


@dataclass(frozen=True)
class Report:
    """What a supervisor has to say at once."""

    progress: Json | None = None
    phase: str | None = None
    points: list[Point] = field(default_factory=list)
    health: Json | None = None
    events: list[tuple[str, Json]] = field(default_factory=list)
    checkpoint_step: int | None = None
    data: Json | None = None


@dataclass(frozen=True)
class EncoderDraft:
    """An encoder whose files are in place."""

    arch: str
    dim: int
    method: str
    metrics: Json
    sha256: str
    size_bytes: int
    folder: str


@dataclass(frozen=True)
class ResultDraft:
    """What a job of another kind leaves behind: its files are in place, in `folder` below the home."""

    folder: str
    facts: Json  # what GET /jobs/{id} shows of it


@dataclass(frozen=True)
class EncoderRecord:
    """A published encoder."""

    id: str
    job_id: str
    arch: str
    dim: int
    method: str
    created_at: datetime
    metrics: Json
    aliases: list[str]
    sha256: str
    size_bytes: int
    folder: str
    owner: str = ""
    shared: bool = False


@dataclass(frozen=True)
class AliasRecord:
    """A name and the encoder it stands for."""

    name: str
    encoder: str
    updated_at: datetime
    owner: str = ""


@dataclass(frozen=True)
class DatasetDraft:
    """A dataset to be registered, or, with an id, one whose files are in their place already."""

    name: str
    path: str
    facts: Json
    idempotency_key: str | None = None
    request_hash: str = ""
    id: str | None = None


@dataclass(frozen=True)
class DatasetRecord:
    """A registered dataset."""

    id: str
    name: str
    path: str
    created_at: datetime
    facts: Json
    owner: str = ""

    @property
    def uploaded(self) -> bool:
        """Whether its files are the service's own, below the home, and not the data root's."""
        return "archive" in self.facts


@dataclass(frozen=True)
class KeyRecord:
    """An API key, without its secret. `shown`: how the secret begins; `digest`: its SHA-256."""

    id: str
    name: str
    owner: str
    scopes: tuple[str, ...]
    shown: str
    digest: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None

    @property
    def state(self) -> str:
        """valid, expired or revoked, by this machine's clock."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= datetime.now(UTC) else "valid"


@dataclass(frozen=True)
class Page(Generic[T]):
    """Entries, and whether more follow."""

    data: list[T]
    has_more: bool
