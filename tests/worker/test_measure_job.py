"""What of a measurement becomes the job's result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.artifacts import Artifacts
from jobs.records import Claim
from worker.kinds import KINDS, SHOWN_CLASSES

JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


@pytest.mark.parametrize(("classes", "shown"), [(2, True), (SHOWN_CLASSES, True), (SHOWN_CLASSES + 1, False)])
def test_many_classes_are_in_the_file_only(tmp_path: Path, classes: int, shown: bool) -> None:
    """A thousand classes have a million cells, which no list of jobs should carry."""
    names = [f"class {number}" for number in range(classes)]
    made = {"format_version": 1, "top1": 50.0, "classes": names, "per_class": [], "confusion": [[0] * classes] * classes}
    out = tmp_path / "out"
    (out / "result").mkdir(parents=True)
    (out / "result" / "result.json").write_text(json.dumps(made))
    for kind in ("linear_probe", "finetune"):
        draft = KINDS[kind].publish(Claim(JOB, 1, {}, kind), Artifacts(tmp_path), out)
        assert draft.folder == f"results/{JOB}.1"
        assert draft.facts == {name: made[name] for name in made if name == "top1" or (shown and name != "format_version")}
        assert json.loads((tmp_path / draft.folder / "result.json").read_text()) == made
