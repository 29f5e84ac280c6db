"""From a submitted body to a complete, checked spec: every problem is found before anything is queued.

body -> JobCreate -> describe(data) -> complete(sections, preset, facts) -> preflight.check(spec). What one step finds wrong does
not keep the others from looking, as far as they can, so that a person sees all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from ssl_core.preflight import check

from api.errors import invalid
from api.schemas import JobCreate
from ssl_core.data.errors import DataError
from ssl_core.data.sources import SourceFacts, describe
from ssl_core.presets import PRESETS, UnknownPreset, complete
from ssl_core.spec import DataConfig, DatasetData, TrainSpec, explain_all
from ssl_core.spec.base import explain

SECTIONS = ("data", "encoder", "method", "augment", "optim", "trainer", "evaluate")
Found = list[tuple[str, str]]  # (JSON pointer, sentence)
PathOf = Callable[[str], str | None]  # dataset id -> folder below the data root

_DATA: TypeAdapter[Any] = TypeAdapter(DataConfig)


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


def plan(body: dict[str, Any], data_root: Path, path_of: PathOf) -> Plan:
    """Check a body of POST /jobs. Reads the data's folder listing. Raises Problem 422 with everything that is wrong."""
    problems: Found = []
    create = _create(body, problems)
    sections = {name: body[name] for name in SECTIONS if isinstance(body.get(name), dict)}
    preset = _preset(body.get("preset"), problems)
    notes = _data(sections, preset, body, path_of, problems)
    facts = _complete(sections, preset, data_root, problems)
    if problems or create is None or facts is None:
        raise invalid(list(dict.fromkeys(problems)))

    try:
        completed = complete(sections, preset, facts)
    except ValidationError as error:
        raise invalid(explain_all(error)) from None
    checked = check(completed.spec, data_root)
    if checked.problems:
        raise invalid([(each.pointer, each.detail) for each in checked.problems])
    warnings = list(dict.fromkeys([*facts.problems, *checked.warnings]))
    return Plan(
        create, completed.spec, completed.recipe, [*notes, *completed.notes], warnings, checked.facts, dict(checked.estimate)
    )


def _create(body: dict[str, Any], problems: Found) -> JobCreate | None:
    try:
        return JobCreate.model_validate(body)
    except ValidationError as error:
        problems += [explain(each) for each in error.errors(include_url=False)]
        return None


def _preset(given: object, problems: Found) -> str | None:
    if not isinstance(given, str):
        return None  # absent, or of the wrong type, which JobCreate has told
    if given not in PRESETS:
        problems.append(("/preset", str(UnknownPreset(given))))
        return None
    return given


def _data(sections: dict[str, Any], preset: str | None, body: dict[str, Any], path_of: PathOf, problems: Found) -> list[str]:
    """Put a registered dataset's folder in its place; see that there is data at all. Returns notes."""
    data = sections.get("data")
    if data is None:
        brings = preset is not None and PRESETS[preset]().data
        if not brings and body.get("data") is None:
            problems.append(("/data", 'is required; the smallest is {"source": "digits"}'))
        if not brings:
            sections["data"] = {"source": "digits"}  # a stand-in, so that the other sections are checked
        return []
    if data.get("source") != "dataset":
        return []
    try:
        dataset = DatasetData.model_validate(data)
    except ValidationError as error:
        problems += [(f"/data{pointer}", detail) for pointer, detail in map(explain, error.errors(include_url=False))]
        sections["data"] = {"source": "digits"}
        return []
    path = path_of(dataset.id)
    if path is None:
        problems.append(("/data/id", f"there is no dataset {dataset.id}; GET /datasets lists them"))
        sections["data"] = {"source": "digits"}
        return []
    sections["data"] = {**{key: value for key, value in data.items() if key != "id"}, "source": "folder", "path": path}
    return [f"data.path = {path!r}: the folder of {dataset.id}"]


def _complete(sections: dict[str, Any], preset: str | None, data_root: Path, problems: Found) -> SourceFacts | None:
    """Look at the data, and validate every section even if the data is not there."""
    try:
        config = complete(sections, preset).spec.data
    except ValidationError as error:
        problems += explain_all(error)
        try:
            config = _DATA.validate_python(sections.get("data"))
        except ValidationError:
            return None
    if isinstance(config, DatasetData):
        return None
    try:
        return describe(config, data_root)
    except DataError as error:
        problems.append((error.pointer, f"{error.message} {error.hint}".strip()))
        return None
