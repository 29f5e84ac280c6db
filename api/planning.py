"""From the body of a pretraining job to a complete, checked spec: every problem is found before anything is queued.

body -> JobCreate -> describe(data) -> complete(sections, preset, facts) -> preflight.check(spec). What one step finds wrong does
not keep the others from looking, as far as they can, so that a person sees all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from api.deps import Services
from api.errors import MOST_ERRORS, invalid
from api.schemas import JobCreate
from jobs.errors import NotFound
from jobs.records import DatasetRecord, EncoderRecord
from ssl_core.data.errors import DataError
from ssl_core.data.sources import SourceFacts, describe
from ssl_core.manifest import EncoderError, Manifest, read_manifest
from ssl_core.preflight import check
from ssl_core.presets import PRESETS, UnknownPreset, complete
from ssl_core.spec import DatasetData, TrainSpec, explain_all
from ssl_core.spec.base import explain, nearest, shown

SECTIONS = ("data", "encoder", "method", "augment", "optim", "trainer", "evaluate")
M = TypeVar("M", bound=BaseModel)
Found = list[tuple[str, str]]  # (JSON pointer, sentence)
PathOf = Callable[[str], "Place | None"]  # dataset id -> where it lies
TakeOver = Callable[[dict[str, Any], Found], list[str]]  # fills in the sections from the encoder that they name; gives notes


@dataclass(frozen=True)
class Place:
    """Of a dataset: a folder `path` below a root."""

    root: Path
    path: str


STAND_IN: dict[str, Any] = {"source": "digits"}  # for data that is missing or wrong, so that the rest can be checked


@dataclass(frozen=True)
class Plan:
    """A job that may be queued."""

    create: JobCreate
    spec: TrainSpec
    recipe: str
    notes: list[str]
    warnings: list[str]
    facts: SourceFacts
    estimate: dict[str, Any]

    def found(self) -> dict[str, Any]:
        """The facts of the data as JSON; classes as their number."""
        facts = asdict(self.facts)
        return {**facts, "classes": None if self.facts.classes is None else len(self.facts.classes)}


def plan(body: dict[str, Any], data_root: Path, path_of: PathOf, take_over: TakeOver) -> Plan:
    """Check a body of POST /jobs. Reads the data's folder listing. Raises Problem 422 with everything that is wrong."""
    problems: Found = []
    create = created(JobCreate, body, problems)
    sections = {name: body[name] for name in SECTIONS if isinstance(body.get(name), dict)}
    preset = _preset(body.get("preset"), problems)
    notes = put_data(sections, preset, body, path_of, problems) + take_over(sections, problems)
    root = root_of(sections.get("data"), path_of, data_root)
    facts = _complete(sections, preset, root, problems)
    if problems or create is None or facts is None:
        raise invalid(list(dict.fromkeys(problems)))

    try:
        completed = complete(sections, preset, facts)
    except ValidationError as error:
        raise invalid(explain_all(error)) from None
    checked = check(completed.spec, root, facts, data_root)
    if checked.problems:
        raise invalid(checked.problems)
    warnings = list(dict.fromkeys([*facts.problems, *checked.warnings]))
    return Plan(create, completed.spec, completed.recipe, [*notes, *completed.notes], warnings, facts, dict(checked.estimate))


def place_of(services: Services, dataset: DatasetRecord) -> Place:
    """Where a dataset lies: below the data root, or, if it was uploaded, in a place of its own."""
    root = services.uploads.place_of(dataset.id) if dataset.uploaded else services.settings.data_root
    return Place(root, dataset.path)


def path_of(services: Services) -> PathOf:
    """Where a dataset lies, by its id, for those who may see it."""

    def look_up(dataset_id: str) -> Place | None:
        found = services.repository.find_dataset(dataset_id)
        return None if found is None else place_of(services, found)

    return look_up


def root_of(data: Any, path_of: PathOf, data_root: Path) -> Path:
    """What the path of a data section, after `put_data`, is relative to."""
    dataset = data.get("dataset") if isinstance(data, dict) else getattr(data, "dataset", None)
    place = path_of(dataset) if isinstance(dataset, str) else None
    return data_root if place is None else place.root


def created(model: type[M], body: dict[str, Any], problems: Found) -> M | None:
    """The body as the model of its kind; what is wrong with it, fields that the model does not know too, goes to `problems`."""
    known = list(model.model_fields)
    unknown = [shown(key) for key in islice((key for key in body if key not in known), MOST_ERRORS)]
    problems += [(pointer_of(key), f"{key!r} is not a field here; {nearest(key, known)}") for key in unknown]
    try:
        return model.model_validate({key: value for key, value in body.items() if key in known})
    except ValidationError as error:
        problems += [explain(each) for each in error.errors(include_url=False)]
        return None


def pointer_of(key: str) -> str:
    """A key of the body as a JSON pointer (RFC 6901)."""
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _preset(given: object, problems: Found) -> str | None:
    if not isinstance(given, str):
        return None  # absent, or of the wrong type, which JobCreate has told
    if given not in PRESETS:
        problems.append(("/preset", str(UnknownPreset(given))))
        return None
    return given


def put_data(sections: dict[str, Any], preset: str | None, body: dict[str, Any], path_of: PathOf, problems: Found) -> list[str]:
    """Put a registered dataset's folder in its place; see that there is data at all. Returns notes."""
    data = sections.get("data")
    if data is None:
        brings = preset is not None and PRESETS[preset]().data
        if not brings and body.get("data") is None:
            problems.append(("/data", 'is required; the smallest is {"source": "digits"}'))
        if not brings:
            sections["data"] = STAND_IN
        return []
    named = data.get("id" if data.get("source") == "dataset" else "dataset")
    if data.get("source") != "dataset" and named is None:
        return []
    try:
        dataset = DatasetData(id=named)
    except ValidationError as error:
        problems += [(f"/data{pointer}", detail) for pointer, detail in map(explain, error.errors(include_url=False))]
        sections["data"] = STAND_IN
        return []
    place = path_of(dataset.id)
    if place is None:
        problems.append(("/data/id", f"there is no dataset {dataset.id}; GET /datasets lists them"))
        sections["data"] = STAND_IN
        return []
    source = "imagenet" if data.get("source") == "imagenet" else "folder"
    rest = {key: value for key, value in data.items() if key != "id"}
    sections["data"] = {**rest, "source": source, "path": place.path, "dataset": dataset.id}
    return [] if place.path == "." else [f"data.path = {place.path!r}: the folder of {dataset.id}"]


def named_encoder(name: object, services: Services, problems: Found) -> tuple[EncoderRecord, Manifest] | None:
    """What an encoder's id, a job's id, an alias or `latest` stands for. Raises Conflict for a job without an encoder yet."""
    if not isinstance(name, str) or not name.isprintable() or not name.strip():
        problems.append(("/encoder", "must be a string: an encoder id, a job id or an alias"))
        return None
    try:
        record = services.repository.resolve_encoder(name)
        return record, read_manifest(services.encoder_folder(record))
    except NotFound as error:
        problems.append(("/encoder", f"{error}; GET /encoders lists them"))
    except EncoderError:
        problems.append(("/encoder", f"the files of {name} are damaged or gone"))
    return None


def _complete(sections: dict[str, Any], preset: str | None, data_root: Path, problems: Found) -> SourceFacts | None:
    """Validate every section, wherever else there are faults, and look at the data if its own section is right."""
    rest = dict(sections)
    for _ in SECTIONS:
        try:
            data = complete(rest, preset).spec.data
            break
        except ValidationError as error:
            found = explain_all(error)
            problems += found
        # One wrong section keeps the others from being read: put it aside and look again.
        wrong = {place.split("/")[1] for place, _ in found if place} & rest.keys()
        rest |= {name: STAND_IN if name == "data" else {} for name in wrong}
    else:
        return None
    if "data" in sections and rest["data"] is STAND_IN:
        return None
    try:
        return describe(data, data_root)
    except DataError as error:
        problems.append((error.pointer, f"{error.message} {error.hint}".strip()))
    except OSError as error:  # a name too long, a folder that may not be read
        problems.append(("/data/path", f"cannot be read: {error.strerror}"))
    return None
