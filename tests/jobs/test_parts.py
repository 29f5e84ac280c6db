"""Settings, ids, the table of states and files: the parts without a database or a broker."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from jobs.artifacts import Artifacts
from jobs.errors import Conflict
from jobs.ids import encoder_id, new_id
from jobs.settings import Settings, get_settings
from jobs.status import TERMINAL, TRANSITIONS, JobStatus, check

JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"
ENCODER = "enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


class TestSettings:
    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in [name for name in os.environ if name.startswith("IMPRINT_")]:
            monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path)

    def test_everything_lies_below_the_home(self, tmp_path: Path) -> None:
        settings = Settings()
        home = tmp_path / "imprint-home"
        assert (settings.home, settings.data_root) == (home, home / "data")
        assert settings.database_url == f"sqlite:///{home}/imprint.db"
        assert settings.redis_url == f"redis+socket://{home}/run/valkey.sock"
        assert (settings.host, settings.port, settings.api_keys, settings.trainer_command) == ("127.0.0.1", 8000, (), ())
        assert "redis_url" not in settings.model_fields_set  # the stack asks this: is the broker the user's own?

    def test_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        given = {
            "HOME": str(tmp_path / "elsewhere"),
            "DATA_ROOT": ".",  # here, and not the default
            "REDIS_URL": "redis://cache:6379/1",
            "API_KEYS": " one, two ,",
            "TRAINER_COMMAND": '["torchrun", "-m", "ssl_core"]',
            "LEASE_SECONDS": "",  # as docker compose passes what is not set
        }
        for name, value in given.items():
            monkeypatch.setenv(f"IMPRINT_{name}", value)
        settings = Settings()
        assert (settings.home, settings.data_root) == (tmp_path / "elsewhere", tmp_path)
        assert settings.api_keys == ("one", "two") and settings.redis_url == "redis://cache:6379/1"
        assert settings.trainer_command == ("torchrun", "-m", "ssl_core") and settings.lease_seconds == 30
        assert "redis_url" in settings.model_fields_set

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PORT", "0"),
            ("LEASE_SECONDS", "-1"),
            ("MAX_ATTEMPTS", "0"),
            ("TRAINER_COMMAND", '"python"'),
            ("TRAINER_COMMAND", "python"),
        ],
    )
    def test_that_make_no_sense_are_refused(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(f"IMPRINT_{name}", value)
        with pytest.raises(ValidationError, match=name.lower()):
            Settings()

    def test_are_read_once(self) -> None:
        get_settings.cache_clear()
        assert get_settings() is get_settings()
        get_settings.cache_clear()


class TestIds:
    def test_rise_within_a_process_also_across_threads(self) -> None:
        made: list[list[str]] = [[] for _ in range(4)]
        threads = [
            threading.Thread(target=lambda mine=mine: mine.extend(new_id("job") for _ in range(2000)))  # type: ignore[misc]
            for mine in made
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(mine == sorted(mine) for mine in made)
        assert len({each for mine in made for each in mine}) == 8000

    def test_have_the_form_of_a_ulid_with_the_time_in_front(self) -> None:
        before, made, after = time.time_ns() // 10**6, new_id("ds"), time.time_ns() // 10**6
        prefix, _, ulid = made.partition("_")
        assert (prefix, len(ulid)) == ("ds", 26) and not set(ulid) - set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
        milliseconds = 0
        for char in ulid[:10]:
            milliseconds = milliseconds * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(char)
        assert before <= milliseconds <= after + 1

    def test_of_an_encoder_is_that_of_its_job(self) -> None:
        assert encoder_id(JOB) == ENCODER


class TestStates:
    def test_the_table_is_the_design_s(self) -> None:
        drawn = {
            "queued": "running cancelled",
            "running": "succeeded failed cancelled paused queued",
            "paused": "queued cancelled",
            "succeeded": "",
            "failed": "queued",
            "cancelled": "queued",
        }
        assert {str(now): {str(then) for then in thens} for now, thens in TRANSITIONS.items()} == {
            now: set(thens.split()) for now, thens in drawn.items()
        }
        assert {str(status) for status in TERMINAL} == {"succeeded", "failed", "cancelled"}

    def test_a_refusal_says_what_is_and_what_could_be(self) -> None:
        with pytest.raises(Conflict, match=r"is paused and cannot become running; .* cancelled, queued"):
            check(JOB, JobStatus.PAUSED, JobStatus.RUNNING)


class TestArtifacts:
    @pytest.fixture
    def artifacts(self, tmp_path: Path) -> Artifacts:
        return Artifacts(tmp_path / "home")

    @pytest.fixture
    def exported(self, tmp_path: Path) -> Path:
        folder = tmp_path / "encoder"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "manifest.json").write_text("{}")
        return folder

    @pytest.mark.parametrize(
        "given", ["../../etc", "job_../../../../../../etc/passwd", "", ".", "job_x/../..", JOB + "/..", JOB + "\n"]
    )
    def test_what_is_no_id_leads_nowhere(self, artifacts: Artifacts, given: str) -> None:
        for ask in (artifacts.job_folder, lambda job_id: artifacts.attempt_folder(job_id, 1)):
            with pytest.raises(ValueError, match="is not an id"):
                ask(given)

    def test_attempts_newest_first(self, artifacts: Artifacts) -> None:
        for attempt in (1, 2, 9, 10):
            artifacts.attempt_folder(JOB, attempt).mkdir(parents=True)
        assert [folder.name for folder in artifacts.earlier_attempts(JOB, 10)] == ["9", "2", "1"]

    def test_publish_is_whole_and_can_be_repeated(self, artifacts: Artifacts, exported: Path) -> None:
        folder = artifacts.publish(JOB, 2, exported)
        assert folder == artifacts.home / "encoders" / f"{ENCODER}.2"
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
            "model.safetensors": b"weights",
            "manifest.json": b"{}",
        }
        assert artifacts.publish(JOB, 2, exported) == folder
        assert [each.name for each in artifacts.encoders.iterdir()] == [folder.name]  # nothing half-done beside it

    def test_publish_of_what_cannot_be_read_leaves_nothing(self, artifacts: Artifacts, exported: Path) -> None:
        (exported / "zzz").symlink_to(exported / "nowhere")
        with pytest.raises(OSError):
            artifacts.publish(JOB, 1, exported)
        assert list(artifacts.encoders.iterdir()) == []

    def test_leftovers_are_removed_and_nothing_else(self, artifacts: Artifacts, exported: Path) -> None:
        recorded = artifacts.publish(JOB, 2, exported)
        overtaken = artifacts.publish(JOB, 1, exported)
        half = artifacts.encoders / f".{ENCODER}.3.77.tmp"
        half.mkdir()
        mine = artifacts.encoders / "my own notes"
        mine.mkdir()
        assert artifacts.remove_leftovers({f"encoders/{recorded.name}"}) == []  # an hour is given
        later = time.time() + 3700
        assert set(artifacts.remove_leftovers({f"encoders/{recorded.name}"}, later)) == {overtaken, half}
        assert recorded.is_dir() and mine.is_dir() and not overtaken.exists() and not half.exists()
        assert artifacts.remove_leftovers({f"encoders/{recorded.name}"}, later) == []

    def test_a_home_that_was_moved_keeps_its_encoders(self, artifacts: Artifacts, exported: Path, tmp_path: Path) -> None:
        row = str(artifacts.publish(JOB, 1, exported))  # a row may hold the whole path, of where the home once was
        artifacts.home.rename(tmp_path / "moved")
        moved = Artifacts(tmp_path / "moved")
        assert moved.remove_leftovers({row}, time.time() + 3700) == []
        assert (moved.encoders / f"{ENCODER}.1" / "manifest.json").exists()


def test_jobs_stands_alone() -> None:
    """Neither torch nor anything else of ours, and no HTTP."""
    program = (
        "import sys, jobs.repository, jobs.queue, jobs.artifacts\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted({'api', 'worker', 'ssl_core', 'imprint', 'torch', 'fastapi'} & loaded))"
    )
    said = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True).stdout
    assert said == "[]\n"
