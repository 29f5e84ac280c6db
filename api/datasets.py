"""/datasets: folders below the data root, registered, and archives, uploaded: under an id that jobs can name."""

from __future__ import annotations

import hashlib
import logging
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from api.body import json_object, validated
from api.dataset_schemas import DatasetBody, DatasetCreate, UploadBody
from api.deps import DatasetId, Limit, Repo, Services, ServicesDep, cursor
from api.errors import Problem, invalid
from api.jobs import ends, first_of, idempotency_key
from api.schemas import ListOf
from api.uploads import is_upload, upload
from jobs.records import DatasetDraft, DatasetRecord
from jobs.uploads import Uploads
from ssl_core.data.cache import Cache
from ssl_core.data.errors import DataError
from ssl_core.data.sources import SourceFacts, describe
from ssl_core.spec import FolderData
from ssl_core.spec.base import explain

audit = logging.getLogger("audit")
router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post("", status_code=201, response_model=DatasetBody, summary="Register a folder, or upload a ZIP")
async def create(
    request: Request,
    response: Response,
    services: ServicesDep,
    name: Annotated[str | None, Query(description="Of the dataset, if the body is a ZIP.")] = None,
    offset: Annotated[int, Query(description="Where an upload with the same `Idempotency-Key` goes on.")] = 0,
) -> DatasetBody:
    """JSON: a folder below the data root that holds images. `application/zip`, or a form with a `file`: the images in the
    archive, kept by the service; other files in it are left out and counted. Jobs use either as
    `{"source": "dataset", "id": "ds_…"}`.

    Takes an `Idempotency-Key`, as POST /jobs does. An upload that breaks off can go on: GET /datasets/uploads says from where.
    """
    if is_upload(request):
        record, replayed = await upload(request, services)
        if not replayed:
            audit.info("%s uploaded dataset %s", services.caller.name, record.id)
    else:
        body = await json_object(request)
        record, replayed = await run_in_threadpool(_register, request, services, body)
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"/datasets/{record.id}"
    return dataset_body(record)


def _register(request: Request, services: Services, body: dict[str, Any]) -> tuple[DatasetRecord, bool]:
    """The dataset, and whether it was there."""
    key = idempotency_key(request)
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    with first_of(services, f"dataset {key}" if key else None):
        record = services.repository.find_dataset_by_key(key, digest) if key else None
        if record is not None:
            return record, True
        asked = validated(DatasetCreate, body)
        facts = _facts(asked.path, services)
        draft = DatasetDraft(asked.name, asked.path, facts, idempotency_key=key, request_hash=digest)
        record = services.repository.create_dataset(draft)
        audit.info("%s registered dataset %s", services.caller.name, record.id)
        return record, False


@router.get("", response_model=ListOf[DatasetBody], summary="List datasets, newest first")
def list_datasets(
    repository: Repo,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
) -> ListOf[DatasetBody]:
    """Every registered folder and uploaded archive, of your own and of everybody."""
    page = repository.datasets(limit=limit, after=cursor("ds", after))
    return ListOf(data=[dataset_body(each) for each in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/uploads", response_model=UploadBody, summary="Look how far an upload has come")
def get_upload(request: Request, services: ServicesDep) -> UploadBody:
    """Of the `Idempotency-Key` in the headers. Send what is missing with `POST /datasets?offset=…` and the same key."""
    key = idempotency_key(request)
    if key is None:
        raise Problem("validation", "Idempotency-Key is required: the upload's.", parameter="Idempotency-Key")
    made = services.repository.dataset_made_by_key(key)
    return UploadBody(offset=services.uploads.arrived(Uploads.name_of(services.caller.owner, key)) or 0, dataset=made)


@router.get("/{dataset_id}", response_model=DatasetBody, summary="Look at a dataset")
def get_dataset(dataset_id: DatasetId, repository: Repo) -> DatasetBody:
    """With what was found in it when it was registered."""
    return dataset_body(repository.dataset(dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset")
def delete_dataset(dataset_id: DatasetId, services: ServicesDep) -> None:
    """409 while a queued, running or paused job uses it. The files of an uploaded dataset are removed, with what was decoded of
    them; a registered folder is forgotten, and its files stay."""
    record = services.repository.delete_dataset(dataset_id)
    audit.info("%s deleted dataset %s", services.caller.name, record.id)
    if record.uploaded:
        place = services.uploads.place_of(dataset_id)
        services.uploads.remove(dataset_id)
        if services.settings.cache is not None:
            Cache(services.settings.cache, 0).forget(place)


def dataset_body(record: DatasetRecord) -> DatasetBody:
    facts = record.facts or {}
    known = {name: facts.get(name) for name in ("images", "held_out", "classes", "fingerprint", "archive")}
    path = None if record.uploaded else record.path
    return DatasetBody(
        id=record.id, name=record.name, path=path, created_at=record.created_at, owner=record.owner or None, **known
    )


def _facts(path: str, services: ServicesDep) -> dict[str, Any]:
    try:
        found: SourceFacts = describe(FolderData(path=path), services.settings.data_root)
    except ValidationError as error:
        raise invalid([explain(each) for each in error.errors(include_url=False)]) from None
    except DataError as error:
        raise invalid([("/path", f"{error.message} {error.hint}".strip())]) from None
    except OSError as error:  # a name too long, a folder that may not be read
        raise invalid([("/path", f"cannot be read: {error.strerror}")]) from None
    classes = None if found.classes is None else len(found.classes)
    return {"images": found.images, "held_out": found.held_out, "classes": classes, "fingerprint": found.fingerprint}
