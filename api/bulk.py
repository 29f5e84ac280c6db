"""Jobs of kind embed: from a body to what is queued, and the way to what they leave behind."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import ValidationError

from api.bulk_schemas import EmbedCreate, VectorsPart
from api.deps import JobId, Services, ServicesDep
from api.embedding import no_such_dimensions
from api.errors import Problem, invalid
from api.planned import Planned, measured
from api.planning import Found, created, named_encoder, path_of, put_data, root_of
from api.schemas import ListOf
from jobs.records import EncoderRecord
from ssl_core.data.errors import DataError
from ssl_core.data.scan import Scan
from ssl_core.data.sources import every_file
from ssl_core.manifest import Manifest
from ssl_core.spec import TrainSpec, explain_all
from ssl_core.spec.embed import EmbedSpec

router = APIRouter(prefix="/jobs/{job_id}/vectors", tags=["jobs"])
KIND = "embed"
PARQUET = "application/vnd.apache.parquet"
_PART = re.compile(r"part-\d{5,9}\.parquet")


def plan_embed(body: dict[str, Any], services: Services) -> Planned:
    """Check a body of kind embed. Raises Problem 422 with everything that is wrong, Conflict for a job without an encoder yet."""
    problems: Found = []
    create = created(EmbedCreate, {**body, "data": body.get("data", {})}, problems)
    sections = {"data": body["data"]} if isinstance(body.get("data"), dict) else {}
    if body.get("data") is None:
        problems.append(("/data", 'is required: {"source": "folder", "path": "photos"}'))
        notes = []
    else:
        notes = put_data(sections, None, body, path_of(services), problems)
    root = root_of(sections.get("data"), path_of(services), services.settings.data_root)
    data, scanned = _data(sections, root, problems)
    encoder = None if create is None else _encoder(create, services, problems)
    if problems or create is None or data is None or scanned is None or encoder is None:
        raise invalid(list(dict.fromkeys(problems)))
    (found, fingerprint), (record, manifest) = scanned, encoder
    spec = EmbedSpec(
        encoder=record.id,
        data=data,
        normalize=create.normalize,
        dimensions=create.dimensions,
        shard_images=create.shard_images,
    ).model_dump(mode="json")
    if create.encoder != record.id:
        notes = [*notes, f"encoder = {record.id}: what {create.encoder!r} stands for now"]
    images, dim = len(found.paths), create.dimensions or manifest.dim

    def estimate() -> dict[str, Any]:
        return {
            "images": images,
            "shards": -(-images // create.shard_images),
            "size_bytes": images * dim * 4,
            **measured(images, lambda earlier: earlier.spec["encoder"] == record.id, services.repository, kind=KIND),
        }

    return Planned(
        kind=KIND,
        method=KIND,
        name=create.name,
        labels=dict(create.labels),
        spec=spec,
        recipe=None,
        notes=notes,
        warnings=_warnings(found),
        data={"source": data.source, "images": images, "fingerprint": fingerprint},
        estimate=estimate,
    )


@router.get("", response_model=ListOf[VectorsPart], summary="List the vectors' files")
def list_vectors(job_id: JobId, services: ServicesDep) -> ListOf[VectorsPart]:
    """The Parquet files that a job of kind embed has written, in the order of their rows: one row a picture, in the order of the
    paths. `embedding` is a fixed-size list of float32, null where `error` says why there is none.
    """
    folder = _folder(job_id, services)
    try:
        shards = json.loads((folder / "result.json").read_bytes())["shards"]
    except (OSError, ValueError, KeyError):
        raise _gone(job_id) from None
    return ListOf(data=[VectorsPart(**each, href=f"/jobs/{job_id}/vectors/{each['file']}") for each in shards], has_more=False)


@router.get("/{part}", response_class=FileResponse, summary="Download one file of vectors")
def download_part(job_id: JobId, part: str, services: ServicesDep) -> FileResponse:
    """A Parquet file. Part of it with `Range`, so that an interrupted download can go on."""
    folder = _folder(job_id, services)
    if not _PART.fullmatch(part) or not (folder / "result.json").is_file():
        detail = f"{job_id} has no file {part[:100]!r}; GET /jobs/{job_id}/vectors lists them."
        raise Problem("not-found", detail) if folder.is_dir() else _gone(job_id)
    if not (folder / part).is_file():
        raise Problem("not-found", f"{job_id} has no file {part!r}; GET /jobs/{job_id}/vectors lists them.")
    return FileResponse(folder / part, media_type=PARQUET, filename=f"{job_id}.{part}")


def _folder(job_id: str, services: Services) -> Path:
    record = services.repository.get(job_id)
    if record.kind != KIND:
        raise Problem("not-found", f"{job_id} is of kind {record.kind}; only jobs of kind {KIND} leave vectors behind.")
    if record.result is None:
        raise Problem("conflict", f"{job_id} is {record.status} and has no vectors yet.")
    return services.settings.home / str(record.result["folder"])


def _gone(job_id: str) -> Problem:
    return Problem("conflict", f"The vectors of {job_id} are gone from the service's folder.")


def _data(sections: dict[str, Any], data_root: Path, problems: Found) -> tuple[Any, tuple[Scan, str] | None]:
    """The data's config, and its files and their fingerprint; None for what cannot be had."""
    if problems and any(pointer.startswith("/data") for pointer, _ in problems):
        return None, None
    try:
        data = TrainSpec.model_validate({"data": sections["data"]}).data
        return data, every_file(data, data_root)
    except ValidationError as error:
        problems += explain_all(error)
    except DataError as error:
        problems.append((error.pointer, f"{error.message} {error.hint}".strip()))
    except OSError as error:  # a name too long, a folder that may not be read
        problems.append(("/data/path", f"cannot be read: {error.strerror}"))
    return None, None


def _encoder(create: EmbedCreate, services: Services, problems: Found) -> tuple[EncoderRecord, Manifest] | None:
    found = named_encoder(create.encoder, services, problems)
    reason = None if create.dimensions is None or found is None else no_such_dimensions(create.dimensions, found[1])
    if reason is not None:
        problems.append(("/dimensions", reason))
    return found


def _warnings(found: Scan) -> list[str]:
    if not found.links_out:
        return []
    return [f"{found.links_out:,} symbolic links lead out of the data root and are not followed."]
