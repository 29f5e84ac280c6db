"""The command: help that teaches, nothing heavy at start, and the right requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint import cli

COMMANDS = (
    "up",
    "train",
    "preview",
    "jobs",
    "watch",
    "cancel",
    "pause",
    "resume",
    "logs",
    "encoders",
    "embed",
    "keys",
    "version",
)
JOB: dict[str, Any] = {"id": "job_1", "status": "queued", "name": None, "spec": {"method": {"name": "simclr"}}}


def run(*arguments: str, url: str | None = None) -> tuple[int, str]:
    """Exit code and standard output, through the same door as the console script."""
    result = CliRunner().invoke(cli.app, [*arguments, *(["--server", url] if url else [])])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


class TestHelp:
    def test_names_every_command_and_shows_a_session(self) -> None:
        code, shown = run("--help")
        assert code == 0
        assert all(f" {command} " in shown for command in (*COMMANDS, "job", "measure", "compare"))
        assert "imprint up --data" in shown and "imprint embed" in shown

    @pytest.mark.parametrize("command", ["up", "train", "jobs", "embed", "measure"])
    def test_has_examples(self, command: str) -> None:
        code, shown = run(command, "--help")
        assert code == 0 and "Examples" in shown and f"imprint {command}" in shown

    def test_loads_nothing_heavy(self) -> None:
        heavy = ["torch", "numpy", "httpx", "pydantic", "sqlalchemy", "celery", "fastapi", "PIL"]
        code = f"""
import sys
from typer.testing import CliRunner
from imprint.cli import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
print([name for name in {heavy!r} if name in sys.modules])
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"

    def test_the_client_needs_nothing_of_the_server(self) -> None:
        code = """
import sys
import imprint.client, imprint.progress, imprint.tables, imprint.target
ours = {"api", "worker", "jobs", "ssl_core", "sqlalchemy", "celery", "torch", "numpy"}
print({name.split(".")[0] for name in sys.modules} & ours)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


class TestTrain:
    def test_options_make_the_body(self, server: Any) -> None:
        server.say({"body": JOB})
        options = ["--preset", "byol", "--epochs", "5", "--batch-size", "64", "--arch", "resnet50", "--name", "first"]
        code, shown = run(
            "train",
            "digits",
            *options,
            "--label",
            "team=a",
            "--set",
            "optim.lr=0.1",
            "--set",
            "trainer.seed=3",
            "--detach",
            url=server.url,
        )
        assert code == 0
        assert server.seen[0].json() == {
            "data": {"source": "digits"},
            "preset": "byol",
            "name": "first",
            "trainer": {"max_epochs": 5, "batch_size": 64, "seed": 3},
            "encoder": {"arch": "resnet50"},
            "optim": {"lr": 0.1},
            "labels": {"team": "a"},
        }
        assert "imprint watch job_1" in shown

    def test_the_batch_size_may_be_found_by_the_trainer(self, server: Any) -> None:
        server.say({"body": JOB})
        assert run("train", "digits", "--batch-size", "auto", "--detach", url=server.url)[0] == 0
        assert server.seen[0].json()["trainer"] == {"batch_size": "auto"}
        assert run("train", "digits", "--batch-size", "large", "--detach", url=server.url)[0] == 2

    def test_a_spec_file_can_be_changed(self, server: Any, tmp_path: Path) -> None:
        server.say({"body": JOB})
        (tmp_path / "spec.json").write_text('{"data": {"source": "digits"}, "trainer": {"max_epochs": 9, "seed": 1}}')
        run("train", str(tmp_path / "spec.json"), "--epochs", "2", "--detach", url=server.url)
        assert server.seen[0].json()["trainer"] == {"max_epochs": 2, "seed": 1}

    def test_watching_ends_with_the_job(self, server: Any) -> None:
        running = {**JOB, "status": "running", "progress": {"epoch": 0, "fraction": 0.5}, "metrics": {"train_loss": 2.0}}
        server.say({"body": JOB}, {"body": running}, {"body": {**JOB, "status": "succeeded", "encoder": "enc_1"}})
        code, shown = run("train", "digits", url=server.url)
        assert code == 0
        assert "loss 2" in shown and "enc_1" in shown and "imprint embed" in shown

    def test_a_failed_job_is_a_failed_command(self, server: Any) -> None:
        error = {"code": "data", "message": "all images are unreadable", "hint": "look at them"}
        server.say({"body": JOB}, {"body": {**JOB, "status": "failed", "error": error}})
        code, shown = run("train", "digits", url=server.url)
        assert code == 1 and "all images are unreadable" in shown and "imprint resume job_1" in shown

    def test_validating_creates_nothing(self, server: Any) -> None:
        answer = {
            "valid": True,
            "spec": {"data": {"source": "digits"}},
            "warnings": ["K is large"],
            "notes": [],
            "data": {"images": 7},
        }
        server.say({"body": answer})
        code, shown = run("train", "digits", "--validate-only", url=server.url)
        assert code == 0 and server.seen[0].path == "/jobs?validate_only=true"
        assert "K is large" in shown and "7 images" in shown


class TestOthers:
    def test_the_server_may_be_named_before_the_command(self, server: Any) -> None:
        server.say({"body": {"data": [], "has_more": False}})
        code, shown = run("--server", server.url, "--api-key", "k", "jobs")
        assert code == 0 and "no jobs yet" in shown
        assert server.seen[0].headers["authorization"] == "Bearer k"

    def test_the_server_may_be_in_the_environment(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        server.say({"body": {"data": [], "has_more": False}})
        monkeypatch.setenv("IMPRINT_SERVER", server.url)
        assert run("encoders")[0] == 0 and server.seen[0].path.startswith("/encoders")

    def test_latest_is_the_newest_job(self, server: Any) -> None:
        server.say({"body": {"data": [JOB], "last_id": "job_1", "has_more": True}}, {"body": {**JOB, "status": "cancelled"}})
        code, _ = run("cancel", "latest", url=server.url)
        assert code == 0 and server.seen[1].path == "/jobs/job_1/cancel"

    def test_json_is_what_the_server_said(self, server: Any) -> None:
        server.say({"body": {"data": [JOB], "last_id": "job_1", "has_more": False}})
        _, shown = run("jobs", "--json", url=server.url)
        assert json.loads(shown) == JOB

    def test_errors_end_the_script_with_a_sentence(self) -> None:
        command = [sys.executable, "-m", "imprint", "jobs", "--server", "http://127.0.0.1:9"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 5
        assert done.stderr.startswith("Error: no Imprint server answers at http://127.0.0.1:9") and "Traceback" not in done.stderr
        done = subprocess.run([*command[:3], "train", "digits", "--set", "oops"], capture_output=True, text=True)
        assert done.returncode == 2 and "--set 'oops'" in done.stderr
