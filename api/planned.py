"""A job that may be queued, whatever its kind: what a kind's own checks come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from api.errors import invalid
from api.schemas import Validated
from jobs import tracing
from jobs.records import JobDraft, JobRecord
from jobs.repository import Repository

RECENT = 50  # jobs that are looked at for one that was alike
SHARED = "Let every key see the job and what it makes: encoder, vectors. Only its owner changes them."


@dataclass(frozen=True)
class Planned:
    """Complete and checked."""

    kind: str
    method: str  # what GET /jobs?method= finds it by
    name: str | None
    labels: dict[str, str]
    spec: dict[str, Any]
    recipe: str | None
    notes: list[str]
    warnings: list[str]
    data: dict[str, Any]  # what was found
    estimate: Callable[[], dict[str, Any]]  # asked for when only this is wanted
    shared: bool = False
    owner: str | None = None  # None: whoever submits it
    tracking: dict[str, Any] | None = None

    def validated(self) -> Validated:
        """The answer to validate_only."""
        return Validated(
            spec=self.spec,
            recipe=self.recipe,
            notes=self.notes,
            warnings=self.warnings,
            data=self.data,
            estimate=self.estimate(),
        )

    def draft(self, key: str | None, digest: str) -> JobDraft:
        """What is stored. `digest`: of the body that the Idempotency-Key `key` belongs to."""
        return JobDraft(
            name=self.name,
            kind=self.kind,
            method=self.method,
            spec=self.spec,
            labels=self.labels,
            idempotency_key=key,
            request_hash=digest,
            notes=[*self.notes, *self.warnings],
            shared=self.shared,
            owner=self.owner,
            tracking=self.tracking,
            traceparent=tracing.traceparent(),
        )


def taken_out(body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A body of POST /jobs without its `shared`, and that. Raises Problem 422."""
    shared = body.get("shared", False)
    if not isinstance(shared, bool):
        raise invalid([("/shared", f"must be true or false, not {shared!r:.100}")])
    return {name: value for name, value in body.items() if name != "shared"}, shared


def measured(
    images: int,
    alike: Callable[[JobRecord], bool],
    repository: Repository,
    *,
    kind: str | None = None,
    method: str | None = None,
) -> dict[str, Any]:
    """How long so many images may take, by the speed of the newest job that was alike; null before there is one."""
    for record in repository.list(status="succeeded", limit=RECENT, kind=kind, method=method).data:
        speed = (record.progress or {}).get("images_per_second")
        if speed and alike(record):
            return {"seconds": round(images / speed), "measured_by": record.id}
    return {"seconds": None, "measured_by": None}
