"""A few pictures of a dataset, small, so that people see what they are about to train on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.dataset_schemas import SampleBody
from api.deps import DatasetId, ServicesDep
from api.errors import Problem
from api.planning import place_of
from api.schemas import ListOf
from api.thumbnails import thumbnail
from ssl_core.data.errors import DataError
from ssl_core.data.scan import iterate_sample, scan
from ssl_core.data.sources import folder_below

router = APIRouter(tags=["datasets"])
MOST = 24  # pictures: each is decoded for this answer


@router.get("/datasets/{dataset_id}/samples", response_model=ListOf[SampleBody], summary="See some pictures of a dataset")
def samples(
    dataset_id: DatasetId,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=MOST, description="Pictures, evenly spread over the dataset's files.")] = 8,
) -> ListOf[SampleBody]:
    """Thumbnails as data URIs of JPEG, 160 px on the longer side; null for a file that cannot be read."""
    place = place_of(services, services.repository.dataset(dataset_id))
    root, folder = place.root, place.path
    try:
        paths = scan(folder_below(root, folder), root).paths
    except (DataError, OSError) as error:
        raise Problem("not-found", f"The folder {folder!r} of {dataset_id} cannot be read: {error}") from None
    chosen = [paths[at] for at in iterate_sample(len(paths), limit)]
    data = [SampleBody(path=path, thumbnail=thumbnail(root, {"path": folder}, path)) for path in chosen]
    return ListOf(data=data, has_more=False)
