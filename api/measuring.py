"""Jobs of kind linear_probe and finetune: from a body to what is queued, and the whole of what they found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse
from pydantic import ValidationError

from api.deps import JobId, Services, ServicesDep
from api.errors import Problem, invalid
from api.measure_schemas import MeasureCreate
from api.planned import Planned
from api.planning import Found, created, named_encoder, path_of, pointer_of, put_data, root_of
from ssl_core.data.errors import DataError
from ssl_core.data.labelled import labelled_folder
from ssl_core.data.sources import describe
from ssl_core.spec import FolderData, ImageNetData, TrainSpec, explain_all
from ssl_core.spec.base import nearest
from ssl_core.spec.probe import SPECS, FinetuneSpec, LinearProbeSpec

router = APIRouter(prefix="/jobs/{job_id}/result", tags=["jobs"])
Spec = LinearProbeSpec | FinetuneSpec


def plan_measure(body: dict[str, Any], services: Services) -> Planned:
    """Check a body of kind linear_probe or finetune. Raises Problem 422 with everything that is wrong, Conflict for a job
    without an encoder yet."""
    kind, problems = str(body["kind"]), list[tuple[str, str]]()
    own = list(MeasureCreate.model_fields)
    known = [*own, *SPECS[kind].model_fields]
    problems += [(pointer_of(key), f"{key!r} is not a field here; {nearest(key, known)}") for key in body if key not in known]
    create = created(MeasureCreate, {key: body[key] for key in own if key in body}, problems)
    fields = {key: value for key, value in body.items() if key in SPECS[kind].model_fields}
    if "data" in fields and not isinstance(fields["data"], dict):
        problems.append(("/data", 'must be an object such as {"source": "folder", "path": "pets"}'))
    sections = {"data": fields["data"]} if isinstance(fields.get("data"), dict) else {}
    notes = put_data(sections, None, body, path_of(services), problems)
    encoder = _encoder(fields, services, problems)
    spec = _spec(kind, {**fields, **sections}, problems)
    root = root_of(sections.get("data"), path_of(services), services.settings.data_root)
    found = None if spec is None or problems else _found(spec, root, services.settings.data_root, problems)
    if problems or create is None or encoder is None or spec is None or found is None:
        raise invalid(list(dict.fromkeys(problems)))
    if fields["encoder"] != encoder:
        notes = [*notes, f"encoder = {encoder}: what {fields['encoder']!r} stands for now"]
    spec = spec.changed(encoder=encoder)
    facts, warnings = found
    return Planned(
        kind=kind,
        method=kind,
        name=create.name,
        labels=dict(create.labels),
        spec=spec.model_dump(mode="json"),
        recipe=spec.protocol,
        notes=notes,
        warnings=warnings,
        data=facts,
        estimate=lambda: _estimate(spec, facts),
    )


@router.get("", response_class=FileResponse, summary="Download a measurement")
def result(job_id: JobId, services: ServicesDep) -> FileResponse:
    """The whole result.json of a job of kind linear_probe or finetune, also where there are so many classes that the job's own
    `result` leaves out confusion and per_class."""
    record = services.repository.get(job_id)
    if record.kind not in SPECS:
        detail = f"{job_id} is of kind {record.kind}; only jobs of kind {' and '.join(SPECS)} have such a result."
        raise Problem("not-found", detail)
    if record.result is None:
        raise Problem("conflict", f"{job_id} is {record.status} and has no result yet.")
    file = services.settings.home / str(record.result["folder"]) / "result.json"
    if not file.is_file():
        raise Problem("conflict", f"The result of {job_id} is gone from the service's folder.")
    return FileResponse(file, media_type="application/json", filename=f"{job_id}.json")


def _encoder(fields: dict[str, Any], services: Services, problems: Found) -> str | None:
    """The id of the encoder that is meant."""
    if "encoder" not in fields:
        problems.append(("/encoder", "is required: an encoder's id, a job's id, an alias, or 'latest'"))
        return None
    found = named_encoder(fields["encoder"], services, problems)
    return None if found is None else found[0].id


def _spec(kind: str, fields: dict[str, Any], problems: Found) -> Spec | None:
    try:
        TrainSpec.model_validate({"data": fields.get("data")})  # its messages name the nearest source
    except ValidationError as error:
        problems += [] if any(pointer.startswith("/data") for pointer, _ in problems) else explain_all(error)
        fields = {**fields, "data": {"source": "cifar10"}}
    if not isinstance(fields.get("encoder"), str) or not fields["encoder"]:
        fields = {**fields, "encoder": "unknown"}
    try:
        return SPECS[kind].model_validate(fields)
    except ValidationError as error:
        problems += explain_all(error)
        return None


def _found(spec: Spec, data_root: Path, files_root: Path, problems: Found) -> tuple[dict[str, Any], list[str]] | None:
    """What there is to learn from and to measure on, and warnings."""
    data = spec.data
    try:
        if not isinstance(data, FolderData | ImageNetData):
            facts = describe(data, data_root)
            count = 5000 if data.source == "stl10" else facts.images  # the rest of STL-10 has no labels
            classes = facts.classes or ()
            learned = max(len(classes), round(spec.label_fraction * count))
            return _facts(spec, learned, facts.held_out, len(classes), facts.fingerprint, "given"), list(facts.problems)
        found = labelled_folder(data, spec.label_file, data_root, spec.seed, files_root)
    except DataError as error:
        problems.append((error.pointer, f"{error.message} {error.hint}".strip()))
        return None
    except OSError as error:  # a name too long, a folder that may not be read
        problems.append(("/data/path", f"cannot be read: {error.strerror}"))
        return None
    of_class = Counter(found.index.train_labels or ())
    learned = sum(max(1, round(spec.label_fraction * count)) for count in of_class.values())
    facts_ = _facts(spec, learned, len(found.index.held_out), len(found.classes), found.fingerprint, found.split)
    return facts_, list(found.notes)


def _facts(spec: Spec, learned: int, held_out: int, classes: int, fingerprint: str, split: str) -> dict[str, Any]:
    facts = {"source": spec.data.source, "images": learned, "held_out": held_out, "classes": classes}
    return {**facts, "fingerprint": fingerprint, "split": split}


def _estimate(spec: Spec, facts: dict[str, Any]) -> dict[str, Any]:
    """How often pictures go through the network: once, or in every epoch."""
    once = isinstance(spec, LinearProbeSpec) and spec.augment == "none"
    images = facts["images"] * (1 if once else spec.epochs) + facts["held_out"]
    return {
        "images_through_the_network": images,
        "trained": "all weights" if isinstance(spec, FinetuneSpec) else "a linear layer",
    }
