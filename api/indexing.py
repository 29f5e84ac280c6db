"""Jobs of kind index: from a body to what is queued."""

from __future__ import annotations

import re
from typing import Any

from api.body import validated
from api.deps import Services
from api.errors import invalid
from api.planned import Planned
from api.search_schemas import IndexJobCreate
from jobs.access import must_control
from jobs.errors import NotFound
from jobs.records import JobRecord
from jobs.status import TERMINAL
from ssl_core.spec.index import IndexSpec

KIND = "index"
_JOB = re.compile(r"job_[0-9A-HJKMNP-TV-Z]{26}")


def plan_index(body: dict[str, Any], services: Services) -> Planned:
    """Check a body of kind index. Raises Problem 422 with what is wrong."""
    asked = validated(IndexJobCreate, body)
    job, made = vectors_of(services, asked.vectors)
    encoder = str(job.spec["encoder"])
    if asked.encoder not in (None, encoder):
        raise invalid([("/vectors", f"the vectors of {job.id} were made by {encoder}, not by {asked.encoder}")])
    owner = services.repository.encoder(encoder).owner  # an index is the encoder's, and belongs to whom that belongs to
    must_control(services.caller, owner, f"encoder {encoder}")
    data = pictures_of(job.spec, services)
    count, dim = int(made["images"]) - int(made["errors"]), int(made["dim"])
    if count == 0:
        raise invalid([("/vectors", f"job {job.id} made no vector: none of its {made['images']} images could be read")])

    return Planned(
        kind=KIND,
        method=KIND,
        name=asked.name,
        labels=dict(asked.labels),
        spec=IndexSpec(encoder=encoder, vectors=job.id, data=data).model_dump(mode="json"),
        recipe=None,
        notes=[],
        warnings=[],
        data={**data, "images": count, "dim": dim},
        owner=owner,
        estimate=lambda: {"size_bytes": count * (2 * dim + 220)},  # float16, the graph's links, ten neighbours, a path
    )


def newest(services: Services, encoder_id: str) -> JobRecord | None:
    """The newest job that indexes, or indexed, the pictures of this encoder."""
    return next(iter(services.repository.index_jobs(encoder_id)), None)


def cancel_all(services: Services, encoder_id: str) -> bool:
    """Cancel what would build an index of this encoder; whether there was any."""
    waiting = [job for job in services.repository.index_jobs(encoder_id) if job.status not in TERMINAL]
    for job in waiting:
        services.repository.request_cancel(job.id)
    return bool(waiting)


def pictures_of(spec: dict[str, Any], services: Services) -> dict[str, Any]:
    """Which pictures an embed job was about, as what is made of its vectors keeps it: enough to find a file again.

    Vectors outlive their dataset. The files of one that was uploaded and is deleted are nowhere: not below the data root either.
    """
    data = {name: spec["data"][name] for name in ("source", "path", "dataset") if spec["data"].get(name) is not None}
    if "dataset" in data and services.repository.find_dataset(data["dataset"]) is None:
        gone = ("dataset", "path") if data.get("path") == "." else ("dataset",)
        return {name: value for name, value in data.items() if name not in gone}
    return data


def vectors_of(services: Services, job_id: str) -> tuple[JobRecord, dict[str, Any]]:
    """An embed job and its result. Raises Problem 422."""
    if not _JOB.fullmatch(job_id):
        raise invalid([("/vectors", f"{job_id[:100]!r} is not a job's id (job_…); GET /jobs?kind=embed lists them")])
    try:
        job = services.repository.get(job_id)
    except NotFound:
        raise invalid([("/vectors", f"there is no job {job_id}; GET /jobs?kind=embed lists them")]) from None
    if job.kind != "embed":
        raise invalid([("/vectors", f"job {job_id} is of kind {job.kind}; name one of kind embed")])
    if job.result is None:
        raise invalid([("/vectors", f"job {job_id} is {job.status} and has no vectors" + ("" if job.finished_at else " yet"))])
    return job, job.result
