"""/encoders and /aliases: what has been pretrained, its files, and the names users give it."""

from __future__ import annotations

import asyncio
import logging
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi import Path as PathParameter
from starlette.responses import StreamingResponse

from api.body import json_object, validated
from api.comparing import compare as comparison
from api.deps import EncoderId, Limit, Mine, Repo, ServicesDep, cursor
from api.embedding import load
from api.errors import Problem, invalid
from api.fields import NAME_PATTERN
from api.jobs import ends
from api.measure_schemas import Comparison
from api.schemas import AliasBody, AliasPut, EncoderBody, EncoderDetail, ListOf
from jobs.records import AliasRecord, EncoderRecord
from ssl_core.manifest import MANIFEST_FILE, MODEL_FILE, EncoderError, read_manifest

log = logging.getLogger("api")
router = APIRouter(tags=["encoders"])
FILES = (MODEL_FILE, MANIFEST_FILE)
CHUNK = 2**20
_RESERVED = ("job_", "enc_", "ds_")


@router.get("/encoders", response_model=ListOf[EncoderBody] | Comparison, summary="List encoders, newest first, or compare some")
def list_encoders(
    services: ServicesDep,
    limit: Limit = 20,
    after: Annotated[str | None, Query(description="The `last_id` of the page before.")] = None,
    compare: Annotated[
        str | None, Query(max_length=4000, description="Encoders (ids, jobs' ids, aliases) with commas between them.")
    ] = None,
    mine: Mine = False,
) -> ListOf[EncoderBody] | Comparison:
    """Every encoder that a job has published. `latest`, wherever an encoder is named, is the one published last, of your own
    and everybody's.

    With `compare`, these encoders side by side: what was measured at the end of pretraining, and by jobs of kind linear_probe
    and finetune, in one line where the data (by fingerprint) and the protocol are the same. Of several jobs that differ in the
    seed only, mean and standard deviation.
    """
    if compare is not None:
        return comparison(services, compare)
    page = services.repository.encoders(limit=limit, after=cursor("enc", after), mine=mine)
    return ListOf(data=[encoder_body(each) for each in page.data], has_more=page.has_more, **ends(page.data))


@router.get("/encoders/{encoder_id}", response_model=EncoderDetail, summary="Look at an encoder")
def get_encoder(encoder_id: EncoderId, services: ServicesDep) -> EncoderDetail:
    """With its manifest: the preprocessing it needs, the data it saw, its spec and versions."""
    record = services.repository.encoder(encoder_id)
    here = f"/encoders/{record.id}"
    links = {"self": here, "download": f"{here}/download", "job": f"/jobs/{record.job_id}", "embed": "/embed"}
    links |= {"export": f"{here}/export", "card": f"{here}/card"}
    try:
        manifest = read_manifest(services.encoder_folder(record)).model_dump(mode="json")
    except EncoderError as error:
        log.error("encoder %s: %s", record.id, error)
        raise Problem("conflict", f"The manifest of {record.id} is damaged or gone; the service's log says how.") from None
    return EncoderDetail(**encoder_body(record).model_dump(), manifest=manifest, links=links)


@router.get("/encoders/{encoder_id}/download", response_class=StreamingResponse, summary="Download an encoder")
def download(encoder_id: EncoderId, services: ServicesDep) -> StreamingResponse:
    """A zip of `model.safetensors`, `manifest.json` and what makes the encoder faster (OpenVINO) and its vectors shorter
    (components), sent while it is read. `ssl_core.embedder` loads the unpacked folder."""
    record = services.repository.encoder(encoder_id)
    folder = services.encoder_folder(record)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise Problem("conflict", f"The files of {record.id} are gone from the service's folder: {', '.join(missing)}.")
    try:
        extras = [name for name in read_manifest(folder).extras if Path(name).name == name and (folder / name).is_file()]
    except EncoderError:
        extras = []  # as it is, for whoever wants to repair it
    headers = {"Content-Disposition": f'attachment; filename="{record.id}.zip"'}
    return StreamingResponse(zipped(folder, [*FILES, *extras]), media_type="application/zip", headers=headers)


@router.get("/aliases", response_model=ListOf[AliasBody], tags=["aliases"], summary="List aliases")
def list_aliases(repository: Repo) -> ListOf[AliasBody]:
    """Your own names. `latest` always is the newest encoder and is not listed."""
    return ListOf(data=[alias_body(each) for each in repository.aliases()], has_more=False)


@router.put("/aliases/{name}", response_model=AliasBody, tags=["aliases"], summary="Name an encoder")
async def put_alias(
    name: Annotated[str, PathParameter(pattern=NAME_PATTERN, description="Letters, digits, dot, dash, underscore.")],
    services: ServicesDep,
    body: Annotated[dict[str, Any], Depends(json_object)],
) -> AliasBody:
    """From now on the name stands for this encoder, which is loaded before; requests in flight finish with the one they began
    with. An encoder that cannot be loaded is refused (409), and the name stays as it was."""
    if name == "latest" or name.startswith(_RESERVED):
        raise Problem("validation", f"{name!r} is reserved; choose a name of your own.", parameter="name")
    given = validated(AliasPut, body).encoder
    if not given.isprintable() or not given.strip():
        raise invalid([("/encoder", "must be an encoder id, a job id or an alias")])
    loaded = await load(services, given)
    record = await asyncio.to_thread(services.repository.set_alias, name, loaded.id)
    return alias_body(record)


def encoder_body(record: EncoderRecord) -> EncoderBody:
    """A record as the contract shows it."""
    return EncoderBody.model_validate({**vars(record), "owner": record.owner or None})


def alias_body(record: AliasRecord) -> AliasBody:
    """The same of a name."""
    return AliasBody.model_validate({**vars(record), "owner": record.owner or None})


class _Pipe:
    """A file that can only be written to; what was written is taken out in pieces."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def zipped(folder: Path, names: Sequence[str]) -> Iterator[bytes]:
    """Files of the folder as a zip, a piece at a time. Stored, not compressed: weights do not shrink."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name in names:
            about = zipfile.ZipInfo.from_file(folder / name, name)
            with (folder / name).open("rb") as source, archive.open(about, "w", force_zip64=True) as member:
                while piece := source.read(CHUNK):
                    member.write(piece)
                    yield pipe.take()
    yield pipe.take()
