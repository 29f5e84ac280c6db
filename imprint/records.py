"""What the service answers, as frozen dataclasses.

Fields that a newer server adds are kept in `raw`, the body as it came; fields that are missing become None or empty, so that
a client and a server of neighbouring versions understand each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Json = dict[str, Any]

FINAL = frozenset({"succeeded", "failed", "cancelled"})


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _section(body: Mapping[str, Any], name: str) -> Json:
    value = body.get(name)
    return dict(value) if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. Times in seconds, fraction in [0, 1]."""

    epoch: int | None = None
    step: int | None = None
    steps_total: int | None = None
    fraction: float | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    images_prepared: int | None = None
    images_total: int | None = None

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Progress:
        return cls(**{name: body.get(name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, and what to do about it."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> JobError:
        return cls(str(body.get("code") or "unknown"), str(body.get("message") or ""), str(body.get("hint") or ""))


@dataclass(frozen=True, slots=True)
class Job:
    """A training run as the server last described it."""

    id: str
    status: str
    """queued, running, paused, succeeded, failed or cancelled."""
    name: str | None
    attempt: int
    phase: str | None
    """While running: preparing, training, evaluating or exporting."""
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    metrics: dict[str, float]
    """The latest value of each; accuracies in percent."""
    health: Json
    spec: Json
    """The complete specification, defaults filled in."""
    encoder: str | None
    error: JobError | None
    labels: dict[str, str]
    raw: Json = field(repr=False)

    @classmethod
    def parse(cls, body: Json) -> Job:
        error = body.get("error")
        return cls(
            id=body["id"],
            status=body["status"],
            name=body.get("name"),
            attempt=body.get("attempt") or 0,
            phase=body.get("phase"),
            created_at=_time(body.get("created_at")),
            started_at=_time(body.get("started_at")),
            finished_at=_time(body.get("finished_at")),
            progress=Progress.parse(_section(body, "progress")),
            metrics={name: value for name, value in _section(body, "metrics").items() if isinstance(value, int | float)},
            health=_section(body, "health"),
            spec=_section(body, "spec"),
            encoder=body.get("encoder"),
            error=JobError.parse(error) if isinstance(error, Mapping) else None,
            labels=_section(body, "labels"),
            raw=body,
        )

    @property
    def kind(self) -> str:
        """pretrain, embed, index, linear_probe or finetune."""
        return str(self.raw.get("kind") or "pretrain")

    @property
    def result(self) -> Json:
        """What a job of another kind than pretrain has made, once it has succeeded."""
        return _section(self.raw, "result")

    @property
    def final(self) -> bool:
        """Whether it has ended (a failed or cancelled job can still be resumed by asking)."""
        return self.status in FINAL

    @property
    def method(self) -> str | None:
        name = _section(self.spec, "method").get("name") or self.raw.get("method")
        return str(name) if name else None

    @property
    def epochs(self) -> int | None:
        """How many epochs the whole run has."""
        value = _section(self.spec, "trainer").get("max_epochs", self.spec.get("epochs"))
        return value if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class Validation:
    """What the server thinks of a job that was only checked."""

    warnings: list[str]
    """What will work, but perhaps not as hoped."""
    notes: list[str]
    """What was chosen for you, and why."""
    spec: Json
    """The complete specification."""
    data: Json
    """What was found: images, held_out, classes, …"""
    raw: Json = field(repr=False)

    @classmethod
    def parse(cls, body: Json) -> Validation:
        warnings, notes = ([str(each) for each in body.get(name) or []] for name in ("warnings", "notes"))
        return cls(warnings, notes, _section(body, "spec"), _section(body, "data"), body)


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured value."""

    name: str
    value: float | None
    step: int
    epoch: int | None
    at: datetime | None

    @classmethod
    def parse(cls, body: Json) -> Metric:
        return cls(body["name"], body.get("value"), body["step"], body.get("epoch"), _time(body.get("at")))


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    id: int
    """The cursor for `after`."""
    type: str
    at: datetime | None
    attempt: int | None
    data: Json

    @classmethod
    def parse(cls, body: Json) -> Event:
        return cls(body["id"], body["type"], _time(body.get("at")), body.get("attempt"), _section(body, "data"))


@dataclass(frozen=True, slots=True)
class Encoder:
    """A trained encoder."""

    id: str
    job_id: str | None
    arch: str | None
    dim: int | None
    method: str | None
    created_at: datetime | None
    metrics: dict[str, float]
    aliases: list[str]
    sha256: str | None
    size_bytes: int | None
    raw: Json = field(repr=False)

    @classmethod
    def parse(cls, body: Json) -> Encoder:
        return cls(
            id=body["id"],
            job_id=body.get("job_id"),
            arch=body.get("arch"),
            dim=body.get("dim"),
            method=body.get("method"),
            created_at=_time(body.get("created_at")),
            metrics={name: value for name, value in _section(body, "metrics").items() if isinstance(value, int | float)},
            aliases=list(body.get("aliases") or []),
            sha256=body.get("sha256"),
            size_bytes=body.get("size_bytes"),
            raw=body,
        )


@dataclass(frozen=True, slots=True)
class Embedded:
    """One image's answer: a vector (dim,) float32, or why there is none."""

    name: str
    vector: NDArray[np.float32] | None
    error: str | None = None
