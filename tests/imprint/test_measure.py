"""`imprint measure`, `compare` and `job`: the right requests, and what a person sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.client import Client
from imprint.errors import UsageError

RESULT: dict[str, Any] = {
    "kind": "linear_probe",
    "protocol": "lbfgs",
    "top1": 81.25,
    "top5": 99.0,
    "train_images": 24000,
    "held_out_images": 6000,
    "split": "stratified",
    "label_fraction": 0.1,
    "seed": 1,
    "last_epoch": 57,
    "per_class": [
        {"class": "emu", "images": 3, "top1": 90.0},
        {"class": "cat", "images": 2, "top1": 50.0},
        {"class": "yak", "images": 0, "top1": None},
    ],
}
JOB: dict[str, Any] = {"id": "job_1", "kind": "linear_probe", "status": "queued", "name": None, "spec": {"epochs": 300}}
DONE = {**JOB, "status": "succeeded", "result": RESULT, "metrics": {"top1": 81.25}}
ENCODERS = [
    {"id": "enc_1", "aliases": ["photos"], "method": "moco", "arch": "resnet18"},
    {"id": "enc_2", "aliases": [], "method": "byol", "arch": "resnet50"},
]
COMPARISON: dict[str, Any] = {
    "object": "comparison",
    "encoders": ENCODERS,
    "data": [
        {
            "kind": "linear_probe",
            "name": "linear_probe lbfgs",
            "data": {"source": "folder", "path": "pets"},
            "metrics": {"top1": [{"mean": 88.12, "std": 0.25, "count": 3}, None]},
        },
        {
            "kind": "pretrain",
            "name": "at the end of pretraining",
            "data": {"source": "digits"},
            "metrics": {"effective_rank": [{"mean": 41.2, "std": None, "count": 1}, {"mean": 1.5, "std": None, "count": 1}]},
        },
    ],
}


def run(server: Any, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--server", server.url], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_measure_waits_and_shows_what_was_found(server: Any) -> None:
    server.say({"body": JOB}, {"body": {**JOB, "status": "running", "phase": "extracting"}}, {"body": DONE})
    options = ["--finetune", "--protocol", "adamw", "--label-fraction", "0.1", "--seed", "1", "--set", "epochs=5"]
    shown = run(server, "measure", "digits", "--encoder", "enc_1", *options)
    assert server.seen[0].json() == {
        "kind": "finetune",
        "encoder": "enc_1",
        "data": {"source": "digits"},
        "protocol": "adamw",
        "label_fraction": 0.1,
        "seed": 1,
        "epochs": 5,
    }
    for part in ("81.2 % of 6,000 held-out images (stratified split)", "99.0 %", "24,000 images", "10 % of the labels, seed 1"):
        assert part in shown
    assert "cat 50.0 %, emu 90.0 %" in shown and "yak" not in shown


def test_measure_in_json(server: Any) -> None:
    server.say({"body": JOB}, {"body": DONE})
    assert json.loads(run(server, "measure", "digits", "--json"))["result"] == RESULT
    assert server.seen[0].json() == {"kind": "linear_probe", "encoder": "latest", "data": {"source": "digits"}}


def test_a_job_is_shown_as_it_is(server: Any) -> None:
    server.say({"body": DONE})
    assert "81.2 %" in run(server, "job", "job_1") and server.seen[0].path == "/jobs/job_1"
    assert json.loads(run(server, "job", "job_1", "--json")) == DONE
    server.say({"body": {**JOB, "status": "running", "progress": {"fraction": 0.25}, "phase": "training"}})
    assert "25 %" in run(server, "job", "job_1")


def test_compare_is_a_table(server: Any) -> None:
    server.say({"body": COMPARISON})
    shown = run(server, "compare", "photos", "enc_2")
    assert server.seen[0].path == "/encoders?compare=photos%2Cenc_2"
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["photos", "enc_2"] and lines[1] == ["moco", "resnet18", "byol", "resnet50"]
    assert ["linear_probe", "lbfgs", "on", "folder", "pets"] in lines
    assert ["top1", "88.1", "±", "0.25", "%", "(3)", "–"] in lines and ["effective_rank", "41.2", "1.5"] in lines
    assert max(map(len, shown.splitlines())) <= 80
    assert json.loads(run(server, "compare", "photos", "enc_2", "--json")) == COMPARISON


def test_compare_says_what_is_missing(server: Any) -> None:
    with pytest.raises(UsageError, match="two encoders at least"):
        run(server, "compare", "photos")
    server.say({"body": {**COMPARISON, "data": []}})
    assert "begin with: imprint measure" in run(server, "compare", "photos", "enc_2")


def test_the_client(server: Any) -> None:
    with Client(server.url) as client:
        server.say({"body": DONE})
        job = client.linear_probe("enc_1", data={"source": "digits"}, protocol="moco")
        assert (job.kind, job.result["top1"], job.epochs) == ("linear_probe", 81.25, 300)
        assert server.seen[-1].json()["kind"] == "linear_probe" and "idempotency-key" in server.seen[-1].headers
        client.finetune(data={"source": "digits"})
        assert server.seen[-1].json() == {"kind": "finetune", "encoder": "latest", "data": {"source": "digits"}}
        server.say({"body": {"confusion": [[1]]}})
        assert client.measurement("job_1") == {"confusion": [[1]]} and server.seen[-1].path == "/jobs/job_1/result"
