"""/datasets: folders below the data root, registered under an id that jobs can name."""

from __future__ import annotations

import hashlib
import logging
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from api.body import json_object, validated
from api.dataset_schemas import DatasetBody, DatasetCreate
from api.deps import DatasetId, Limit, Repo, ServicesDep, cursor
from api.errors import invalid
from api.jobs import ends, first_of, idempotency_key
from api.schemas import ListOf
from jobs.records import DatasetDraft, DatasetRecord
from ssl_core.data.errors import DataError
from ssl_core.data.sources import SourceFacts, describe
from ssl_core.spec import FolderData
from ssl_core.spec.base import explain

audit = logging.getLogger("audit")
router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post("", status_code=201, response_model=DatasetBody, summary="Register a folder")
def create(
    request: Request, response: Response, services: ServicesDep, body: Annotated[dict[str, Any], Depends(json_object)]
) -> DatasetBody:
    """The folder must lie below the data root and hold images. Jobs use it as `{"source": "dataset", "id": "ds_…"}`.

    Takes an `Idempotency-Key`, as POST /jobs does.
    """
    key = idempotency_key(request)
    digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    with first_of(services, f"dataset {key}" if key else None):
        record = services.repository.find_dataset_by_key(key, digest) if key else None
        if record is not None:
            response.headers["Idempotency-Replayed"] = "true"
        else:
            asked = validated(DatasetCreate, body)
            facts = _facts(asked.path, services)
            draft = DatasetDraft(asked.name, asked.path, facts, idempotency_key=key, request_hash=digest)
            record = services.repository.create_dataset(draft)
            audit.info("%s registered dataset %s", services.caller.name, record.id)
    response.headers["Location"] = f"/datasets/{record.id}"
    return dataset_body(record)


@router.get("", response_model=ListOf[DatasetBody], summary="List datasets, newest first")
def list_datasets(
    repository: Repo,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
) -> ListOf[DatasetBody]:
    """Every registered folder."""
    page = repository.datasets(limit=limit, after=cursor("ds", after))
    return ListOf(data=[dataset_body(each) for each in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/{dataset_id}", response_model=DatasetBody, summary="Look at a dataset")
def get_dataset(dataset_id: DatasetId, repository: Repo) -> DatasetBody:
    """With what was found in it when it was registered."""
    return dataset_body(repository.dataset(dataset_id))


def dataset_body(record: DatasetRecord) -> DatasetBody:
    facts = record.facts or {}
    known = {name: facts.get(name) for name in ("images", "held_out", "classes", "fingerprint")}
    return DatasetBody(
        id=record.id, name=record.name, path=record.path, created_at=record.created_at, owner=record.owner or None, **known
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
