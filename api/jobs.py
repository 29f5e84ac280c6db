"""/jobs: submit, look, list, and ask for a cancel, a pause or a resume."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from api.body import json_object
from api.deps import JobId, Limit, Mine, Repo, Services, ServicesDep, cursor
from api.errors import Problem
from api.fields import MOST_LABELS
from api.kinds import FILTERS, planned
from api.schemas import JobBody, JobStatusName, ListOf, Validated
from api.short import short
from jobs.records import JobRecord
from ssl_core.spec import METHOD_NAMES
from ssl_core.spec.base import nearest
from ssl_core.spec.probe import SPECS

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
    """Queue a job: `kind` is `pretrain` (the default), `embed`, `index`, `map`, `linear_probe` or `finetune`. Everything
    that is wrong with it is said at once, before anything is queued.

    With an `Idempotency-Key` header the same body gives the same job, however often it is sent; another body with that key is
    a 422, and a 409 while the first is being checked.
    """
    if validate_only:
        response.status_code = 200
        return planned(body, services).validated()
    return queued(request, response, services, body)


def queued(request: Request, response: Response, services: Services, body: dict[str, Any]) -> JobBody:
    """Check a body, create its job and wake a worker. Raises Problem 409 or 422."""
    key = idempotency_key(request)
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    with first_of(services, key):
        record = services.repository.find_by_key(key, digest) if key else None
        if record is not None:
            response.headers["Idempotency-Replayed"] = "true"
        else:
            record = services.repository.create(
                planned(body, services).draft(key, digest), max_queued=services.settings.max_queued
            )
            services.wake(record.id)  # soon; without the broker, a worker's sweep finds the job
    response.headers["Location"] = f"/jobs/{record.id}"
    return job_body(record)


@router.get("", response_model=ListOf[JobBody], summary="List jobs, newest first")
@short
def list_jobs(
    request: Request,
    repository: Repo,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    status: Annotated[JobStatusName | None, Query()] = None,
    method: Annotated[str | None, Query(description="The name of a method, such as simclr.")] = None,
    kind: Annotated[str | None, Query(description="pretrain, embed, index, linear_probe, finetune, import or map.")] = None,
    mine: Mine = False,
) -> ListOf[JobBody]:
    """Filters: `status`, `method`, `kind`, and `label.<key>=<value>` for your own labels."""
    known = {"limit", "after", "status", "method", "kind", "mine"}
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(_LABEL) and len(name) > len(_LABEL) and (name + value).isprintable():
            labels[name.removeprefix(_LABEL)] = value
        elif name not in known:
            hint = nearest(name, [*known, "label.<key>"])
            raise Problem("validation", f"{name[:100]!r} is not a filter; {hint}", parameter=name[:100])
    if len(labels) > MOST_LABELS:  # also more than SQL's expressions may hold in each other
        raise Problem("validation", f"{len(labels)} labels are asked for, and a job has at most {MOST_LABELS}", parameter="label")
    if method is not None and method not in METHOD_NAMES:
        detail = f"method {method[:100]!r} is not known; {nearest(method, list(METHOD_NAMES))}"
        raise Problem("validation", detail, parameter="method")
    if kind is not None and kind not in FILTERS:
        raise Problem("validation", f"kind {kind[:100]!r} is not known; {nearest(kind, list(FILTERS))}", parameter="kind")
    begin = cursor("job", after)
    page = repository.list(limit=limit, after=begin, status=status, method=method, kind=kind, labels=labels, mine=mine)
    return ListOf(data=[job_body(record) for record in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/{job_id}", response_model=JobBody, summary="Look at a job")
@short
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
def resume(job_id: JobId, services: ServicesDep) -> JobBody:
    """A paused, failed or cancelled job goes back into the queue and continues from its last checkpoint. Idempotent."""
    record = services.repository.resume(job_id)
    if record.status == "queued":
        services.wake(record.id)
    return job_body(record)


def job_body(record: JobRecord) -> JobBody:
    """A record as the contract shows it."""
    here = f"/jobs/{record.id}"
    links = {"self": here, **{name: f"{here}/{name}" for name in ("metrics", "events", "logs", "checkpoints", "preview")}}
    links |= {name: f"{here}/{name}" for name in ("cancel", "pause", "resume")}
    if record.encoder_id:
        links |= {"encoder": f"/encoders/{record.encoder_id}", "embed": "/embed"}
    if record.kind != "pretrain":
        del links["preview"], links["checkpoints"]
    if record.tracking:
        links["tracking"] = f"{here}/tracking"
    result = None
    if record.result is not None:
        made = _made(record, here)
        links |= made
        result = {**record.result, "links": made}
        del result["folder"]  # where it lies is the service's own affair
    fields = {name: getattr(record, name) for name in JobBody.model_fields if hasattr(record, name)}
    fields |= {"owner": record.owner or None, "encoder": record.encoder_id, "result": result, "links": links}
    return JobBody.model_validate(fields)


def _made(record: JobRecord, here: str) -> dict[str, str]:
    """Where to find what a job of another kind than pretrain has made."""
    if record.kind == "index":
        encoder = f"/encoders/{record.spec['encoder']}"
        return {name: f"{encoder}/{name}" for name in ("index", "search", "report")}
    if record.kind == "map":
        return {"map": f"{here}/map", "points": f"{here}/map/points", "encoder": f"/encoders/{record.spec['encoder']}"}
    if record.kind in SPECS:
        return {"result": f"{here}/result", "encoder": f"/encoders/{record.spec['encoder']}"}
    return {"vectors": f"{here}/vectors"}


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
    """Only one request of an owner's key at a time. Raises 409 for the others."""
    if key is None:
        yield
        return
    key = f"{services.caller.owner} {key}"
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
