"""Jobs of kind map: from a body to what is queued, and what is on the map that they leave behind."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from api.body import json_object, validated
from api.deps import JobId, Services, ServicesDep
from api.errors import Problem, invalid
from api.indexing import pictures_of, vectors_of
from api.map_files import Map, as_binary, as_csv, as_parquet, file_name
from api.map_schemas import MapBody, MapCreate, MapExport, MapFolder, MapGroups, MapPicture, MapPoints
from api.planned import Planned, measured
from api.thumbnails import jpeg, pictures_root
from jobs.records import JobRecord
from ssl_core.mapping.table import MAP, MapCorrupt, read_map
from ssl_core.spec.map import MapSpec

router = APIRouter(prefix="/jobs/{job_id}/map", tags=["map"])
KIND = "map"
FEWEST = 4
MOST_FOLDERS, MOST_NAMED = 1000, 200
ARROW, CSV, PARQUET = "application/vnd.apache.arrow.file", "text/csv; charset=utf-8", "application/vnd.apache.parquet"


def plan_map(body: dict[str, Any], services: Services) -> Planned:
    """Check a body of kind map. Raises Problem 422 with what is wrong."""
    asked = validated(MapCreate, body)
    job, made = vectors_of(services, asked.vectors)
    data = pictures_of(job.spec, services)
    count, dim = int(made["images"]) - int(made["errors"]), int(made["dim"])
    if count < FEWEST:
        reason = f"job {job.id} made {count} vectors of its {made['images']} images; a map needs {FEWEST} or more"
        raise invalid([("/vectors", reason)])
    own = {name: getattr(asked, name) for name in ("neighbours", "min_dist", "min_cluster", "landmarks", "seed")}
    spec = MapSpec(encoder=str(job.spec["encoder"]), vectors=job.id, data=data, **own)
    warnings = []
    if count > asked.landmarks:
        warnings = [f"{asked.landmarks:,} of the {count:,} pictures are fitted, the others placed among them."]
    return Planned(
        kind=KIND,
        method=KIND,
        name=asked.name,
        labels=dict(asked.labels),
        spec=spec.model_dump(mode="json"),
        recipe=None,
        notes=[],
        warnings=warnings,
        data={**data, "images": count, "dim": dim},
        estimate=lambda: {
            "size_bytes": count * 150,  # of the file: place, cluster, outlier, ten neighbours, a path
            **measured(count, lambda earlier: bool(earlier.spec["kind"] == KIND), services.repository, kind=KIND),
        },
    )


def _open(job_id: str, services: Services) -> tuple[JobRecord, Map]:
    """The job and its map. Raises Problem 404, 409."""
    record = services.repository.get(job_id)
    if record.kind != KIND:
        raise Problem("not-found", f"{job_id} is of kind {record.kind}; only jobs of kind {KIND} leave a map behind.")
    if record.result is None:
        raise Problem("conflict", f"{job_id} is {record.status} and has no map yet.")
    try:
        return record, Map(read_map(services.settings.home / str(record.result["folder"])))
    except MapCorrupt as error:
        raise Problem("conflict", f"The map of {job_id} is damaged or gone: {error}. Make it again (POST /jobs).") from None


@router.get("", response_model=MapBody, summary="Look at a map")
def get_map(job_id: JobId, services: ServicesDep) -> MapBody:
    """What is on it, and where its points are to be had."""
    record, found = _open(job_id, services)
    here = f"/jobs/{record.id}/map"
    names = {"points": "points", "binary": "points.bin", "arrow": "points.arrow", "duplicates": "duplicates", "export": "export"}
    folders = [MapFolder(folder=name, count=count) for name, count in found.folders()]
    return MapBody(
        **{**(record.result or {}), **{name: record.spec[name] for name in ("encoder", "vectors", "data")}},
        job=record.id,
        folders=folders[:MOST_FOLDERS],
        folders_count=len(folders),
        links={"self": here, "job": f"/jobs/{record.id}", **{name: f"{here}/{path}" for name, path in names.items()}},
    )


@router.get("/points", response_model=MapPoints, summary="List pictures on a map")
def points(
    job_id: JobId,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="Pictures on a page.")] = 100,
    skip: Annotated[int, Query(ge=0, description="So many before the first of the page.")] = 0,
    order: Annotated[str, Query(pattern="^(row|outlier)$", description="outlier: what stands apart comes first.")] = "row",
    folder: Annotated[str | None, Query(max_length=4096, description="Only pictures of this folder.")] = None,
    cluster: Annotated[int | None, Query(ge=-1, le=2**31 - 1, description="Only pictures of this cluster; -1: of none.")] = None,
    rows: Annotated[str | None, Query(max_length=4000, description="Only these, in this order: numbers with commas.")] = None,
) -> MapPoints:
    """Path, place, cluster and outlier score of pictures, a page at a time."""
    _, found = _open(job_id, services)
    chosen = found.chosen(folder, cluster) if rows is None else _rows(rows, found)
    if order == "outlier":
        chosen = chosen[np.argsort(-found.column("outlier")[chosen], kind="stable")]
    page = chosen[skip : skip + limit]
    return MapPoints(count=len(chosen), data=found.points(page), has_more=len(chosen) > skip + limit)


@router.get("/points.bin", response_class=Response, summary="A map's points for drawing")
def binary(job_id: JobId, request: Request, services: ServicesDep) -> Response:
    """Little-endian: the four letters IMAP, the length of a JSON header as uint32, the header (count, columns with name, type and
    offset, folders), and one array a column: x, y and outlier as float32, folder (a number in `folders`) and cluster as int32."""
    record, found = _open(job_id, services)
    headers = {"ETag": f'"{record.id}.{record.attempt}"', "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(as_binary(found), media_type="application/octet-stream", headers=headers)


@router.get("/points.arrow", response_class=FileResponse, summary="Download a map")
def arrow(job_id: JobId, services: ServicesDep) -> FileResponse:
    """An Arrow IPC file: path, folder, x, y, cluster, outlier, nearest (rows of the ten nearest others) and their cosine."""
    record, _ = _open(job_id, services)
    file = services.settings.home / str((record.result or {})["folder"]) / MAP
    return FileResponse(file, media_type=ARROW, filename=f"{job_id}.arrow")


@router.get("/points/{row}", response_model=MapPicture, summary="Look at one picture on a map")
def point(job_id: JobId, row: int, services: ServicesDep) -> MapPicture:
    """With its ten nearest others, by cosine of their vectors."""
    _, found = _open(job_id, services)
    (at,) = _rows(str(row), found)
    return MapPicture(**found.points(np.array([at]))[0].model_dump(), nearest=found.nearest(int(at)))


@router.get("/duplicates", response_model=MapGroups, summary="Near-duplicates on a map")
def duplicates(
    job_id: JobId,
    services: ServicesDep,
    threshold: Annotated[float, Query(ge=0, le=1, description="Cosine from which two pictures are near-duplicates.")] = 0.95,
    limit: Annotated[int, Query(ge=1, le=100, description="Groups on a page.")] = 20,
    skip: Annotated[int, Query(ge=0, description="So many groups before the first of the page.")] = 0,
) -> MapGroups:
    """Groups of pictures that are linked by pairs above the threshold, out of the ten nearest others of each."""
    _, found = _open(job_id, services)
    return found.groups(threshold, skip, limit)


@router.get("/thumbnails/{row}", response_class=Response, summary="A small picture of one on a map")
def small(job_id: JobId, row: int, services: ServicesDep) -> Response:
    """A JPEG of at most 160 pixels, from the file itself; 404 where that is gone or cannot be read."""
    record, found = _open(job_id, services)
    (at,) = _rows(str(row), found)
    data = record.spec["data"]
    content = jpeg(pictures_root(services, data), data, found.path(int(at)))
    if content is None:
        raise Problem("not-found", f"The picture {row} of {job_id} is gone from the data root, or cannot be read.")
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=600"})


@router.post("/export", response_class=Response, summary="Write some pictures of a map to a file")
def export(job_id: JobId, services: ServicesDep, body: Annotated[dict[str, Any], Depends(json_object)]) -> Response:
    """A selection as CSV or Parquet: selection, row, path, folder, x, y, cluster, outlier. Nothing is stored."""
    asked = validated(MapExport, body)
    _, found = _open(job_id, services)
    over = next((at for at, row in enumerate(asked.rows) if row >= len(found)), None)
    if over is not None:
        raise invalid([(f"/rows/{over}", f"{asked.rows[over]} is not a row: they are 0 to {len(found) - 1}")])
    table = found.selected(np.asarray(asked.rows, np.int64), asked.name or "")
    content, kind = (as_csv(table), CSV) if asked.format == "csv" else (as_parquet(table), PARQUET)
    disposition = f'attachment; filename="{file_name(asked.name or job_id)}.{asked.format}"'
    return Response(content, media_type=kind, headers={"Content-Disposition": disposition})


def _rows(text: str, found: Map) -> Any:
    """Numbers with commas between them, int64 (N,). Raises Problem 404 for one, 422 for several."""
    pieces = text.split(",")
    if len(pieces) > MOST_NAMED:
        raise Problem("validation", f"rows has {len(pieces)} numbers; {MOST_NAMED} at most.", parameter="rows")
    bad = next((each for each in pieces if not (_number(each) and int(each) < len(found))), None)
    if bad is not None:
        raise Problem("not-found", f"{bad[:40]!r} is not a row of this map: they are 0 to {len(found) - 1}.")
    return np.array([int(each) for each in pieces], np.int64)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
