"""/encoders/{id}/index, /search and /report: the nearest pictures, near-duplicates and outliers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from api.body import json_object, validated
from api.deps import EncoderId, Services, ServicesDep
from api.embed_schemas import EmbedOptions
from api.embedding import Embedded, embedded
from api.errors import Problem, invalid
from api.indexing import KIND, cancel_all, newest
from api.jobs import job_body, queued
from api.pictures import Asked
from api.report import as_csv, report_body
from api.schemas import JobBody
from api.search_schemas import (
    MOST_THUMBNAILS,
    IndexBody,
    IndexCreate,
    Indexed,
    Neighbour,
    ReportBody,
    SearchBody,
)
from api.searched import Wanted, read
from api.thumbnails import pictures_root, thumbnail
from jobs.errors import NotFound
from jobs.indexes import IndexPlace
from jobs.status import TERMINAL
from ssl_core.search.facts import IndexCorrupt

if TYPE_CHECKING:
    from ssl_core.search.index import Found, PictureIndex

router = APIRouter(tags=["search"])


@router.post("/encoders/{encoder_id}/index", status_code=202, response_model=JobBody, summary="Index pictures")
def create_index(
    encoder_id: EncoderId,
    services: ServicesDep,
    body: Annotated[dict[str, Any], Depends(json_object)],
    request: Request,
    response: Response,
) -> JobBody:
    """Queue a job of kind index over the vectors of an embed job. Until it has succeeded, the index before is searched.

    The same as POST /jobs with `kind` `index`: with progress, cancel, resume and `Idempotency-Key`.
    """
    services.repository.encoder(encoder_id)
    asked = validated(IndexCreate, body)
    return queued(request, response, services, {"kind": KIND, "encoder": encoder_id, "vectors": asked.vectors})


@router.get("/encoders/{encoder_id}/index", response_model=IndexBody, summary="Look at an index")
def get_index(encoder_id: EncoderId, services: ServicesDep) -> IndexBody:
    """What is searched, and the newest job that builds it."""
    services.repository.encoder(encoder_id)
    job = newest(services, encoder_id)
    damaged = False
    try:
        index = services.indexes.get(encoder_id) if _seen(services, encoder_id) else None
    except IndexCorrupt:
        index, damaged = None, True
    if index is None and not damaged and (job is None or job.status in ("succeeded", "cancelled")):
        raise _no_index(encoder_id)
    status: Any = "ready"
    if job is not None and job.status not in TERMINAL:
        status = "building"
    elif damaged or (job is not None and job.status == "failed"):
        status = "failed"
    return IndexBody(
        encoder=encoder_id,
        status=status,
        index=None if index is None else indexed(index),
        job=None if job is None else job_body(job),
    )


@router.delete("/encoders/{encoder_id}/index", status_code=204, response_class=Response, summary="Remove an index")
def delete_index(encoder_id: EncoderId, services: ServicesDep) -> Response:
    """And cancel the jobs that build another. Vectors and pictures stay."""
    services.repository.index_removed(encoder_id)
    cancelled = cancel_all(services, encoder_id)
    if not IndexPlace(services.settings.home, encoder_id).remove() and not cancelled:
        raise _no_index(encoder_id)
    services.indexes.forget(encoder_id)
    return Response(status_code=204)


@router.post("/encoders/{encoder_id}/search", response_model=SearchBody, summary="Find pictures")
async def search(encoder_id: EncoderId, request: Request, services: ServicesDep) -> Response:
    """The pictures nearest to one picture, or to a vector, by cosine.

    Four forms of body: JSON with `image` or `vector`; `multipart/form-data` with a file in `image`; or the bytes of one picture
    (`image/*`) with the options in the query.
    """
    wanted = await read(request)
    index = await asyncio.to_thread(open_index, services, encoder_id)

    async def find(vector: Any) -> Response:
        found = await asyncio.to_thread(index.search, vector, wanted.options.k)
        body = SearchBody(
            encoder=encoder_id, index=indexed(index), data=await _shown(services, index, found, wanted.options.thumbnails)
        )
        return Response(body.model_dump_json(), media_type="application/json")

    if wanted.vector is None:
        return await _by_picture(request, services, encoder_id, index, wanted, find)
    if wanted.vector.shape != (index.facts.dim,):
        reason = f"has {wanted.vector.size} numbers; this index is over vectors of {index.facts.dim}"
        raise invalid([("/vector", reason)])
    return await find(wanted.vector)


@router.get("/encoders/{encoder_id}/report", response_model=ReportBody, summary="Near-duplicates and outliers")
def report(
    encoder_id: EncoderId,
    services: ServicesDep,
    threshold: Annotated[float, Query(ge=0, le=1, description="Cosine from which two pictures are near-duplicates.")] = 0.95,
    limit: Annotated[int, Query(ge=1, le=1000, description="Groups, and outliers, on a page.")] = 100,
    skip: Annotated[int, Query(ge=0, description="So many groups and outliers before the first of the page.")] = 0,
    format: Annotated[str, Query(pattern="^(json|csv)$", description="csv: every picture, a row each, as a file.")] = "json",
) -> Any:
    """Groups of pictures that are linked by pairs above the threshold, and pictures far from all others, out of the ten nearest
    neighbours of each picture that the build wrote down. As CSV: path, group (empty: none), nearest (the highest cosine to
    another picture), distance (the mean of 1 - cosine to the ten nearest), in the order of the vectors."""
    index = open_index(services, encoder_id)
    if format == "csv":
        headers = {"Content-Disposition": f'attachment; filename="{encoder_id}-report.csv"'}
        return StreamingResponse(as_csv(index, threshold), media_type="text/csv; charset=utf-8", headers=headers)
    return report_body(encoder_id, indexed(index), index, threshold, skip, limit)


def open_index(services: Services, encoder_id: str) -> PictureIndex:
    """Raises 404 with what to do if there is none, 409 if its files are damaged. Called in a thread."""
    services.repository.encoder(encoder_id)
    try:
        found = services.indexes.get(encoder_id) if _seen(services, encoder_id) else None
    except IndexCorrupt as error:
        raise Problem("conflict", f"The index of {encoder_id} is damaged: {error}.") from None
    if found is None:
        raise _no_index(encoder_id)
    return found


def _seen(services: Services, encoder_id: str) -> bool:
    """Whether the caller may see the job that made the index: it names pictures, and is not shared with its encoder."""
    if services.caller.admin:
        return True
    folder = IndexPlace(services.settings.home, encoder_id).current()
    try:
        return folder is not None and bool(services.repository.get(folder.name.partition(".")[0]))
    except NotFound:
        return False


def indexed(index: PictureIndex) -> Indexed:
    """What index.json says, as the contract shows it."""
    return Indexed.model_validate(index.facts, from_attributes=True)


async def _by_picture(
    request: Request, services: Services, encoder_id: str, index: PictureIndex, wanted: Wanted, find: Any
) -> Response:
    assert wanted.picture is not None
    options = EmbedOptions(encoder=encoder_id, dimensions=index.facts.dimensions)

    async def answer(found: Embedded) -> Response:
        vector = np.asarray(found.values[0], np.float32)
        if vector.shape != (index.facts.dim,):
            detail = f"The encoder gives {vector.size} numbers, its index has {index.facts.dim}; build the index again."
            raise Problem("conflict", detail)
        result: Response = await find(vector)
        return result

    return await embedded(request, services, Asked(options, [wanted.picture], pointer="/image"), answer)


async def _shown(services: Services, index: PictureIndex, found: Sequence[Found], thumbnails: bool) -> list[Neighbour]:
    loop, data = asyncio.get_running_loop(), index.facts.data
    root = pictures_root(services, data)
    small: list[str | None] = [None] * len(found)
    if thumbnails:
        jobs = (loop.run_in_executor(services.decoders, thumbnail, root, data, each.path) for each in found[:MOST_THUMBNAILS])
        small[:MOST_THUMBNAILS] = await asyncio.gather(*jobs)
    pairs = zip(found, small, strict=True)
    return [Neighbour(path=each.path, score=round(each.score, 6), thumbnail=picture) for each, picture in pairs]


def _no_index(encoder_id: str) -> Problem:
    hint = f'POST /encoders/{encoder_id}/index {{"vectors": "<id of an embed job>"}} builds one.'
    return Problem("not-found", f"{encoder_id} has no index. {hint}")
