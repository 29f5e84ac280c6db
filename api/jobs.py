"""/jobs: submit, look, list, and ask for a cancel, a pause or a resume."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.body import json_object
from api.deps import JobId, Limit, Repo, Services, ServicesDep, cursor
from api.errors import Problem
from api.planning import Plan, plan
from api.schemas import JobBody, JobStatusName, ListOf, Validated
from jobs.queue import enqueue
from jobs.records import JobDraft, JobRecord
from jobs.repository import Repository
from ssl_core.spec import METHOD_NAMES
from ssl_core.spec.base import nearest

router = APIRouter(prefix="/jobs", tags=["jobs"])
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_LABEL = "label."


@router.post(
    "",
    status_code=202,
    response_model=JobBody | Validated,
    responses={200: {"model": Validated, "description": "With validate_only: what would be done."}},
    summary="Submit a job",
)
def submit(
    request: Request,
    response: Response,
    services: ServicesDep,
    body: Annotated[dict[str, Any], Depends(json_object)],
    validate_only: Annotated[bool, Query(description="Run every check and answer 200; create nothing.")] = False,
) -> JobBody | Validated:
    """Queue a pretraining job. Everything that is wrong with it is said at once, before anything is queued.

    With an `Idempotency-Key` header the same body gives the same job, however often it is sent; another body with that key is
    a 422, and a 409 while the first is being checked.
    """
    if validate_only:
        response.status_code = 200
        return _validated(_plan(services, body), services.repository)
    key = idempotency_key(request)
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    with first_of(services, key):
        record = services.repository.find_by_key(key, digest) if key else None
        if record is not None:
            response.headers["Idempotency-Replayed"] = "true"
        else:
            record = services.repository.create(_draft(_plan(services, body), key, digest))
            enqueue(record.id)  # a wake-up only: without the broker, a worker's sweep finds the job
    response.headers["Location"] = f"/jobs/{record.id}"
    return job_body(record)


@router.get("", response_model=ListOf[JobBody], summary="List jobs, newest first")
def list_jobs(
    request: Request,
    repository: Repo,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    status: Annotated[JobStatusName | None, Query()] = None,
    method: Annotated[str | None, Query(description="moco, simclr, byol or vicreg.")] = None,
) -> ListOf[JobBody]:
    """Filters: `status`, `method`, and `label.<key>=<value>` for your own labels."""
    known = {"limit", "after", "status", "method"}
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(_LABEL) and len(name) > len(_LABEL) and (name + value).isprintable():
            labels[name.removeprefix(_LABEL)] = value
        elif name not in known:
            hint = nearest(name, [*known, "label.<key>"])
            raise Problem("validation", f"{name[:100]!r} is not a filter; {hint}", parameter=name[:100])
    if method is not None and method not in METHOD_NAMES:
        detail = f"method {method[:100]!r} is not known; {nearest(method, list(METHOD_NAMES))}"
        raise Problem("validation", detail, parameter="method")
    page = repository.list(limit=limit, after=cursor("job", after), status=status, method=method, labels=labels)
    return ListOf(data=[job_body(record) for record in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/{job_id}", response_model=JobBody, summary="Look at a job")
def get_job(job_id: JobId, repository: Repo) -> JobBody:
    """Status, progress, latest metrics and, when it is finished, the encoder."""
    return job_body(repository.get(job_id))


@router.post("/{job_id}/cancel", status_code=202, response_model=JobBody, summary="Cancel a job")
def cancel(job_id: JobId, repository: Repo) -> JobBody:
    """A queued or paused job is cancelled at once; a running one writes a checkpoint and stops within 10 s. Idempotent."""
    return job_body(repository.request_cancel(job_id))


@router.post("/{job_id}/pause", status_code=202, response_model=JobBody, summary="Pause a job")
def pause(job_id: JobId, repository: Repo) -> JobBody:
    """A running job writes a checkpoint, stops, and frees its worker. Idempotent."""
    return job_body(repository.request_pause(job_id))


@router.post("/{job_id}/resume", status_code=202, response_model=JobBody, summary="Resume a job")
def resume(job_id: JobId, repository: Repo) -> JobBody:
    """A paused, failed or cancelled job goes back into the queue and continues from its last checkpoint. Idempotent."""
    record = repository.resume(job_id)
    if record.status == "queued":
        enqueue(record.id)
    return job_body(record)


def job_body(record: JobRecord) -> JobBody:
    """A record as the contract shows it."""
    here = f"/jobs/{record.id}"
    links = {"self": here, **{name: f"{here}/{name}" for name in ("metrics", "events", "logs", "checkpoints", "preview")}}
    links |= {name: f"{here}/{name}" for name in ("cancel", "pause", "resume")}
    if record.encoder_id:
        links |= {"encoder": f"/encoders/{record.encoder_id}", "embed": "/embed"}
    fields = {name: getattr(record, name) for name in JobBody.model_fields if hasattr(record, name)}
    return JobBody.model_validate({**fields, "encoder": record.encoder_id, "links": links})


def ends(records: list[Any]) -> dict[str, str | None]:
    """first_id and last_id of a page."""
    return {"first_id": records[0].id if records else None, "last_id": records[-1].id if records else None}


def idempotency_key(request: Request) -> str | None:
    """The header's value, if there is one. Raises 422 for what a database column should not have to hold."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem("validation", "Idempotency-Key must be 1 to 200 printable ASCII characters without spaces.")
    return key


@contextmanager
def first_of(services: Services, key: str | None) -> Iterator[None]:
    """Only one request of a key at a time. Raises 409 for the others."""
    if key is None:
        yield
        return
    with services.lock:
        if key in services.submitting:
            detail = "A request with this Idempotency-Key is still being worked on; send it again in a moment."
            raise Problem("conflict", detail, headers={"Retry-After": "1"})
        services.submitting.add(key)
    try:
        yield
    finally:
        with services.lock:
            services.submitting.discard(key)


def path_of(repository: Repository) -> Callable[[str], str | None]:
    """Where a registered dataset lies, or None."""

    def look_up(dataset_id: str) -> str | None:
        found = repository.find_dataset(dataset_id)
        return None if found is None else found.path

    return look_up


def _plan(services: Services, body: dict[str, Any]) -> Plan:
    return plan(body, services.settings.data_root, path_of(services.repository))


def _validated(made: Plan, repository: Repository) -> Validated:
    spec = made.spec.model_dump(mode="json")
    estimate = {**made.estimate, **_time(spec, made.estimate["steps_total"], repository)}
    return Validated(
        spec=spec, recipe=made.recipe, notes=made.notes, warnings=made.warnings, data=made.found(), estimate=estimate
    )


def _time(spec: dict[str, Any], steps: int, repository: Repository) -> dict[str, Any]:
    """How long it may take, by the speed of the newest job with the same network, size and method; null before there is one."""
    for record in repository.list(status="succeeded", method=spec["method"]["name"], limit=50).data:
        alike = record.spec["encoder"] == spec["encoder"] and record.spec["data"]["size"] == spec["data"]["size"]
        if alike and record.progress and record.progress["images_per_second"]:
            seconds = steps * spec["trainer"]["batch_size"] / record.progress["images_per_second"]
            return {"seconds": round(seconds), "measured_by": record.id}
    return {"seconds": None, "measured_by": None}


def _draft(made: Plan, key: str | None, digest: str) -> JobDraft:
    return JobDraft(
        name=made.create.name,
        kind=made.create.kind,
        method=made.spec.method.name,
        spec=made.spec.model_dump(mode="json"),
        labels=dict(made.create.labels),
        idempotency_key=key,
        request_hash=digest,
        notes=[*made.notes, *made.warnings],
    )
