"""/encoders/{id}/index, /search and /report: the nearest pictures, near-duplicates and outliers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.responses import StreamingResponse

from api.body import json_object, validated
from api.deps import EncoderId, Services, ServicesDep
from api.embed_schemas import EmbedOptions
from api.embedding import Embedded, embedded
from api.errors import Problem, invalid
from api.indexing import BuildRunning
from api.pictures import Asked
from api.report import as_csv, report_body
from api.search_schemas import (
    MOST_THUMBNAILS,
    Build,
    IndexBody,
    IndexCreate,
    Indexed,
    Neighbour,
    ReportBody,
    SearchBody,
)
from api.searched import Wanted, read
from api.thumbnails import thumbnail
from jobs.errors import NotFound
from jobs.indexes import IndexPlace, vectors_of
from ssl_core.search.facts import IndexCorrupt

if TYPE_CHECKING:
    from ssl_core.search.index import Found, PictureIndex

router = APIRouter(tags=["search"])


@router.post("/encoders/{encoder_id}/index", status_code=202, response_model=IndexBody, summary="Index pictures")
def create_index(
    encoder_id: EncoderId, services: ServicesDep, body: Annotated[dict[str, Any], Depends(json_object)], response: Response
) -> IndexBody:
    """Build an index over the vectors of an embed job, in the background. Until it is ready, the one before is searched.

    Builds wait for each other; one that a restart of the service interrupts begins again. 409 while this encoder's index is
    being built.
    """
    asked = validated(IndexCreate, body)
    services.repository.encoder(encoder_id)
    data = _checked(services, encoder_id, asked.vectors)
    if services.draining.is_set():
        raise Problem("unavailable", "The service is stopping.", headers={"Retry-After": "5"})
    try:
        services.indexing.start(encoder_id, asked.vectors, data)
    except BuildRunning:
        detail = f"The index of {encoder_id} is being built; wait for its end, or DELETE it."
        raise Problem("conflict", detail) from None
    response.headers["Location"] = f"/encoders/{encoder_id}/index"
    return _index_body(services, encoder_id)


@router.get("/encoders/{encoder_id}/index", response_model=IndexBody, summary="Look at an index")
def get_index(encoder_id: EncoderId, services: ServicesDep) -> IndexBody:
    """What is searched, and how far the last build is."""
    services.repository.encoder(encoder_id)
    return _index_body(services, encoder_id)


@router.delete("/encoders/{encoder_id}/index", status_code=204, response_class=Response, summary="Remove an index")
def delete_index(encoder_id: EncoderId, services: ServicesDep) -> Response:
    """And end its build. Vectors and pictures stay."""
    services.repository.encoder(encoder_id)
    if not services.indexing.remove(encoder_id):
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
        found = services.indexes.get(encoder_id)
    except IndexCorrupt as error:
        raise Problem("conflict", f"The index of {encoder_id} is damaged: {error}.") from None
    if found is None:
        raise _no_index(encoder_id)
    return found


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
    loop, root, data = asyncio.get_running_loop(), services.settings.data_root, index.facts.data
    small: list[str | None] = [None] * len(found)
    if thumbnails:
        jobs = (loop.run_in_executor(services.decoders, thumbnail, root, data, each.path) for each in found[:MOST_THUMBNAILS])
        small[:MOST_THUMBNAILS] = await asyncio.gather(*jobs)
    pairs = zip(found, small, strict=True)
    return [Neighbour(path=each.path, score=round(each.score, 6), thumbnail=picture) for each, picture in pairs]


def _checked(services: Services, encoder_id: str, job_id: str) -> dict[str, Any]:
    """The pictures of an embed job whose vectors this encoder made. Raises 422."""
    try:
        spec = services.repository.get(job_id).spec
        folder = vectors_of(services.settings.home, job_id)
    except (NotFound, ValueError):
        raise invalid([("/vectors", f"there is no job {job_id[:100]!r}; GET /jobs lists them")]) from None
    if folder is None:
        raise invalid([("/vectors", f"job {job_id} has no vectors; name an embed job that has succeeded")])
    made_by = _made_by(folder)
    if made_by != encoder_id:
        raise invalid([("/vectors", f"the vectors of {job_id} were made by {made_by}, not by {encoder_id}")])
    data = spec.get("data") if isinstance(spec, dict) else None
    return {name: data[name] for name in ("source", "path") if name in data} if isinstance(data, dict) else {}


def _made_by(folder: Path) -> str | None:
    try:
        about = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError):
        return None
    return str(about.get("encoder")) if isinstance(about, dict) else None


def _index_body(services: Services, encoder_id: str) -> IndexBody:
    place = IndexPlace(services.settings.home, encoder_id)
    asked = place.build()
    try:
        index = services.indexes.get(encoder_id)
    except IndexCorrupt as error:
        index = None
        if asked and asked.get("status") != "building":  # the build that would repair it is what is told, while it lasts
            asked = {**asked, "status": "failed", "error": str(error)}
    if index is None and not (asked and "created_at" in asked):
        raise _no_index(encoder_id)
    build = None
    if asked and "created_at" in asked:
        build = Build.model_validate({**asked, **(place.progress() if asked["status"] == "building" else {})})
    status = build.status if build is not None else "ready"
    return IndexBody(encoder=encoder_id, status=status, index=None if index is None else indexed(index), build=build)


def _no_index(encoder_id: str) -> Problem:
    hint = f'POST /encoders/{encoder_id}/index {{"vectors": "<id of an embed job>"}} builds one.'
    return Problem("not-found", f"{encoder_id} has no index. {hint}")
