"""What measurements leave behind: rows to find by their encoder, and files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.artifacts import Artifacts
from jobs.records import Claim, ResultDraft
from jobs.repository import Repository

JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


def test_measurements_are_found_by_their_encoders(repository: Repository, running: Callable[..., Claim]) -> None:
    """Newest first; neither other kinds, nor other encoders, nor what has not succeeded."""

    def done(kind: str, encoder: str, **spec: Any) -> str:
        claim = running(kind=kind, method=kind, spec={"encoder": encoder, **spec})
        repository.finish(claim.job_id, claim.attempt, ResultDraft(f"results/{claim.job_id}.1", {"top1": 50.0}))
        return claim.job_id

    a = done("linear_probe", "enc_a")
    b = done("finetune", "enc_b", nested={"encoder": "enc_c"})
    done("linear_probe", "enc_c"), done("embed", "enc_a")
    running(kind="linear_probe", method="linear_probe", spec={"encoder": "enc_a"})
    running()  # pretraining: its spec's encoder is an object or missing
    found = repository.measurements(["enc_a", "enc_b"], ["linear_probe", "finetune"])
    assert [job.id for job in found] == [b, a] and found[0].result == {"folder": f"results/{b}.1", "top1": 50.0}
    assert [job.id for job in repository.measurements(["enc_a"], ["linear_probe"], limit=1)] == [a]
    assert repository.measurements(["enc_d' OR 1=1"], ["linear_probe"]) == []


def test_a_result_is_published_once_and_cleared_of_what_made_it(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    for attempt in (1, 2):
        out = artifacts.attempt_folder(JOB, attempt)
        for name in ("features", "checkpoints", "result"):
            (out / name).mkdir(parents=True)
            (out / name / "result.json").write_text(json.dumps({"top1": attempt}))
    folder = artifacts.publish_result(JOB, 2, artifacts.attempt_folder(JOB, 2) / "result")
    assert folder == tmp_path / "results" / f"{JOB}.2" and json.loads((folder / "result.json").read_text()) == {"top1": 2}
    assert artifacts.publish_result(JOB, 2, tmp_path / "gone") == folder, "published before, not recorded: the same"
    artifacts.clear(JOB, 2, "features", "checkpoints")
    left = sorted(str(path.relative_to(artifacts.job_folder(JOB))) for path in artifacts.job_folder(JOB).glob("*/*"))
    assert left == ["1/result", "2/result"]
    assert artifacts.remove_leftovers({f"results/{JOB}.2"}, now=2**33) == []
    assert artifacts.remove_leftovers(set(), now=2**33) == [folder] and not folder.exists()
