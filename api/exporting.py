"""Encoders that leave: GET /encoders/{id}/export in another form, and GET /encoders/{id}/card.

An export is made by a process of its own (`python -m ssl_core export`), one at a time, and kept below home/exports: the same
request again is a file that is read. What the card says is part of its name, so a new measurement makes a new one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse

from api.comparing import figures
from api.deps import EncoderId, Services, ServicesDep
from api.errors import Problem
from jobs.records import EncoderRecord
from ssl_core.manifest import EncoderError, Manifest, read_manifest
from ssl_core.portable.card import CardFacts, Evaluation, card
from ssl_core.portable.curves import SHOWN
from ssl_core.portable.forms import VERSION, Form, NoSuchForm, check_form

log = logging.getLogger("api")
router = APIRouter(prefix="/encoders/{encoder_id}", tags=["encoders"])
PLACES = 4  # one export is made, the others wait
SECONDS = 600.0  # that one may take
KEPT_BYTES = 8 * 2**30  # of exports in home/exports; the longest unused go first
MOST_POINTS = 20_000  # of a curve that are read
LICENCE = "license"  # the label of a job that says it
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")  # no secrets

_places = threading.BoundedSemaphore(PLACES)
_one = threading.Lock()
FormQuery = Annotated[Form, Query(alias="format", description="onnx, torchscript, safetensors, timm or hf.")]


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "The export.", "content": {"application/zip": _BINARY}},
    206: {"description": "A part of it.", "content": {"application/zip": _BINARY}},
}


class Markdown(Response):
    """Text; FastAPI reads its media type for the OpenAPI document."""

    media_type = "text/markdown"


@router.get("/card", response_class=Markdown, summary="Read an encoder's card")
def get_card(encoder_id: EncoderId, services: ServicesDep, form: FormQuery = "onnx") -> Markdown:
    """The model card, in Markdown: method, data with fingerprint and counts, curves, health, what it is worth by which protocol,
    licence (the job's label `license`), and a short program that loads the export of this `format`."""
    record = services.repository.encoder(encoder_id)
    manifest = _manifest(services, record)
    text = card(manifest, card_facts(services, record), _checked(form, manifest), inline=True)
    return Markdown(text, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/export", response_class=FileResponse, responses=_ZIP, summary="Download an encoder in another form")
def export(encoder_id: EncoderId, services: ServicesDep, form: FormQuery) -> FileResponse:
    """A zip for programs without Imprint: the network in this `format`, its preprocessing (`imprint.json`) and its card
    (`README.md`). Compared with the encoder before it is handed out (cosine at least 0.99999). Made at the first request, which
    waits; one that disagrees, or cannot be made of this network, is refused. `Repr-Digest` has its SHA-256; parts of it are
    sent with `Range`."""
    record = services.repository.encoder(encoder_id)
    path = made(services, record, form)
    digest = _sha256(path)
    headers = {
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:",
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    return FileResponse(path, media_type="application/zip", filename=f"{record.id}-{form}.zip", headers=headers)


def card_facts(services: Services, record: EncoderRecord) -> CardFacts:
    """What the database knows of an encoder: its job's curves, health and counts, and every measurement."""
    job = services.repository.get(record.job_id)
    data, health = job.data or {}, job.health or {}
    curves = {}
    for name in SHOWN:
        points = services.repository.metrics(job.id, name=name, limit=MOST_POINTS).data
        curves[name] = [(float(point.step), point.value) for point in points if point.value is not None]
    return CardFacts(
        encoder=record.id,
        name=job.name,
        license=job.labels.get(LICENCE),
        held_out=data.get("held_out"),
        classes=data.get("classes"),
        epochs=job.spec.get("trainer", {}).get("max_epochs"),
        curves={name: points for name, points in curves.items() if points},
        verdict=health.get("verdict"),
        reasons=[str(reason) for reason in health.get("reasons") or []],
        evaluations=[
            Evaluation(
                protocol=row.name,
                data=" ".join(str(value) for value in row.data.values()),
                figures={name: found[0].mean for name, found in row.metrics.items() if found[0] is not None},
                seeds=len(row.jobs[0]),
            )
            for row in figures(services, [record])
        ],
    )


def made(services: Services, record: EncoderRecord, form: Form) -> Path:
    """The zip, made if there is none. Raises Problem 409, 422, 429, 503, 504."""
    _checked(form, _manifest(services, record))
    facts = card_facts(services, record).model_dump_json()
    key = hashlib.sha256(json.dumps([VERSION, record.sha256, facts]).encode()).hexdigest()[:16]
    target = services.settings.home / "exports" / record.id / f"{form}-{key}.zip"
    if not target.is_file():
        if not _places.acquire(blocking=False):
            detail = f"{PLACES} exports are being made or wait already; try again in 10 s."
            raise Problem("busy", detail, headers={"Retry-After": "10"})
        try:
            with _one:
                if not target.is_file():
                    _make(services, services.encoder_folder(record), form, target, facts)
        finally:
            _places.release()
    with contextlib.suppress(OSError):  # when it was last wanted
        os.utime(target, (time.time(), target.stat().st_mtime))
    return target


def _make(services: Services, encoder: Path, form: Form, target: Path, facts: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="imprint-export-") as scratch:
        said = Path(scratch, "facts.json")
        said.write_text(facts, encoding="utf-8")
        words = [str(encoder), "--format", form, "-o", str(target), "--facts", str(said), "--parent-pipe"]
        status, errors = _run([sys.executable, "-P", "-m", "ssl_core", "export", *words], services, Path(scratch))
    if status:
        last = errors.strip().splitlines()[-1:] or [f"the process ended with status {status}"]
        log.error("export of %s as %s: %s", encoder.name, form, errors.strip() or last[0])
        reason = (
            last[0].removeprefix("Error: ") if status == 1 and last[0].startswith("Error: ") else "the service's log says how"
        )
        raise Problem("conflict", f"It could not be made: {reason}")
    _make_room(services.settings.home / "exports", target)


def _run(command: list[str], services: Services, folder: Path) -> tuple[int, str]:
    """(exit status, what it wrote to stderr). It ends with this process, and when the service stops or it takes too long."""
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    until = time.monotonic() + SECONDS
    with (folder / "stderr").open("w+b") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None:
                if services.draining.is_set():
                    raise Problem("unavailable", "The service is stopping.", headers={"Retry-After": "5"})
                if time.monotonic() > until:
                    raise Problem("timeout", f"The export was not made within {SECONDS:g} s.")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert process.stdin is not None
            process.stdin.close()
        errors.seek(0)
        return process.returncode, errors.read(65536).decode("utf-8", "replace")


def _make_room(folder: Path, new: Path) -> None:
    """Remove what was not wanted for longest, until the rest is within KEPT_BYTES."""
    states = sorted(((path.stat(), path) for path in folder.glob("*/*.zip") if path != new), key=lambda each: -each[0].st_atime)
    total = new.stat().st_size
    for state, path in states:
        total += state.st_size
        if total > KEPT_BYTES:
            path.unlink(missing_ok=True)
            path.with_suffix(".sha256").unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    """Of the file, worked out once."""
    beside = path.with_suffix(".sha256")
    with contextlib.suppress(OSError):
        if len(known := beside.read_text()) == 64:
            return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):
        beside.write_text(digest)
    return digest


def _manifest(services: Services, record: EncoderRecord) -> Manifest:
    try:
        return read_manifest(services.encoder_folder(record))
    except EncoderError as error:
        log.error("encoder %s: %s", record.id, error)
        raise Problem("conflict", f"The manifest of {record.id} is damaged or gone; the service's log says how.") from None


def _checked(form: Form, manifest: Manifest) -> Form:
    try:
        return check_form(form, manifest)
    except NoSuchForm as error:
        raise Problem("validation", str(error), parameter="format") from None
