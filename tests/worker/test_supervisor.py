"""The supervisor with real processes, real signals and real kills; only what is learned is not real."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import delete

from jobs.errors import Fenced, Unavailable
from jobs.models import Metric
from support.processes import alive, eventually
from support.workplace import COMMAND, Workplace
from worker.sweeper import Sweeper


class TestSuccess:
    def test_from_claim_to_encoder(self, place: Workplace) -> None:
        job = place.run(place.submit(steps=5))
        assert (job.status, job.attempt, job.error, job.requested) == ("succeeded", 1, None, None)
        assert job.progress is not None and (job.progress["step"], job.progress["fraction"]) == (5, 1.0)
        assert job.metrics == {"train_loss": 0.2, "odd": None}
        assert job.health == {"verdict": "learning", "reasons": ["it says so"]}
        losses = place.repository.metrics(job.id, name="train_loss").data
        assert [(point.step, point.value) for point in losses] == [(step, 1 / step) for step in range(1, 6)]
        assert place.history(job.id) == ["created", "running", "phase", "phase", "succeeded"]

        assert job.encoder_id == "enc_" + job.id.removeprefix("job_")
        encoder = place.repository.encoder(job.encoder_id)
        folder = place.settings.home / encoder.folder
        assert folder == place.settings.home / "encoders" / f"{job.encoder_id}.1"
        assert (folder / "model.safetensors").read_bytes() == b"weights after step 5"
        assert (encoder.arch, encoder.dim, encoder.metrics) == ("resnet18", 512, {"knn_top1": 90.0})

    def test_a_second_message_changes_nothing(self, place: Workplace) -> None:
        job_id = place.submit(steps=30)
        with place.running(job_id):
            place.run(job_id)  # returns at once, while the first runs
            assert place.repository.get(job_id).status == "running"
        done = place.repository.get(job_id), place.history(job_id)
        place.run(job_id)  # and after it has ended
        assert (place.repository.get(job_id), place.history(job_id)) == done
        assert done[0].status == "succeeded" and done[0].attempt == 1

    def test_reads_bursts_and_torn_lines_to_the_end(self, place: Workplace) -> None:
        job = place.run(place.submit(steps=1, burst=12_000))  # 1.2 MB, more than is read at once
        assert job.status == "succeeded" and job.metrics["torn"] == 1.0
        assert len(place.repository.metrics(job.id, name="noise", limit=100_000).data) == 12_000

    def test_the_trainer_is_told_what_it_needs_and_no_more(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("IMPRINT_DATABASE_URL", "postgresql://imprint:secret@db/imprint")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("TORCH_HUB_TOKEN", "secret")
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
        job = place.run(place.submit(steps=1))
        facts = place.facts(job.id)
        assert facts["environment"]["OMP_NUM_THREADS"] == "3" and "PATH" in facts["environment"]
        assert "secret" not in str(facts["environment"]) and facts["data_root"] == str(place.settings.data_root)

    def test_an_encoder_that_is_missing_is_a_crash_with_its_reason(self, place: Workplace) -> None:
        job = place.run(place.submit(steps=1, no_encoder=True, no_checkpoints=True), max_attempts=1)
        assert job.status == "failed" and job.error is not None and job.error["code"] == "not_published"
        assert "manifest.json" in job.error["message"]


class TestCrash:
    def test_goes_on_from_the_last_checkpoint(self, place: Workplace) -> None:
        job_id = place.submit(steps=6, die_at=[3])
        assert place.run(job_id).status == "queued" and place.woken == [job_id]
        job = place.run(job_id)
        assert (job.status, job.attempt) == ("succeeded", 2)
        [resumed] = [event for event in place.repository.events(job_id).data if event.type == "resumed"]
        assert resumed.data["step"] == 3
        encoder = place.repository.resolve_encoder(job_id)
        assert (place.settings.home / encoder.folder / "model.safetensors").read_bytes() == b"weights after step 6"
        steps = [point.step for point in place.repository.metrics(job_id, name="train_loss").data]
        assert steps == [1, 2, 3, 4, 5, 6]

    def test_what_a_killed_worker_had_not_read_is_read_by_the_next(self, place: Workplace) -> None:
        """Steps 2 and 3 are in the checkpoint, and in the trainer's events, but not in the database: nobody trains them again."""
        job_id = place.submit(steps=6, die_at=[3])
        place.run(job_id)
        with place.repository.database.write() as session:
            assert session.execute(delete(Metric).where(Metric.job_id == job_id, Metric.step > 1)).rowcount > 0  # type: ignore[attr-defined]
        place.run(job_id)
        losses = place.repository.metrics(job_id, name="train_loss").data
        assert [(point.step, point.value) for point in losses] == [(step, 1 / step) for step in range(1, 7)]

    def test_earlier_attempts_are_offered_newest_first(self, place: Workplace) -> None:
        job_id = place.submit(steps=9, die_at=[2, 4])
        for _ in range(3):
            place.run(job_id)
        arguments = place.facts(job_id, attempt=3)["arguments"]
        offered = [Path(value).name for name, value in itertools.pairwise(arguments) if name == "--resume"]
        assert offered == ["2", "1"] and place.repository.get(job_id).status == "succeeded"

    def test_by_sigkill_from_outside_is_said_in_words(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.05, no_checkpoints=True, print="CUDA says hello")
        with place.running(job_id, max_attempts=1):
            os.kill(place.facts(job_id)["pid"], signal.SIGKILL)
        error = place.repository.get(job_id).error
        assert error is not None and error["code"] == "crashed"
        assert "SIGKILL" in error["message"] and "memory" in error["message"] and "CUDA says hello" in error["hint"]

    def test_without_progress_is_given_up(self, place: Workplace) -> None:
        job_id = place.submit(exit_at={"step": 1, "status": 70}, no_checkpoints=True)
        assert [place.run(job_id).status for _ in range(3)] == ["queued", "queued", "failed"]
        error = place.repository.get(job_id).error
        assert error is not None and "status 70" in error["message"] and "3 times" in error["message"]
        assert place.repository.resume(job_id).status == "queued"

    def test_with_an_error_that_would_come_again_is_final(self, place: Workplace) -> None:
        error = {"code": "data_error", "message": "photos holds no images", "hint": "put some there"}
        job = place.run(place.submit(error=error))
        assert (job.status, job.error, job.attempt) == ("failed", error, 1)

    def test_of_a_command_that_is_not_there(self, place: Workplace) -> None:
        job = place.run(place.submit(), trainer_command=("/nowhere/torchrun",), max_attempts=1)
        assert job.status == "failed" and job.error is not None and "/nowhere/torchrun" in job.error["message"]

    def test_leaves_no_helpers_behind(self, place: Workplace) -> None:
        """DataLoader workers outlive a parent that is killed."""
        job_id = place.submit(steps=1000, helper=True, die_at=[2])
        place.run(job_id)
        helper = place.facts(job_id)["helper"]
        eventually(lambda: not alive(helper), "the helper's end", 5)

    def test_a_trainer_that_makes_no_step_is_killed(self, place: Workplace) -> None:
        job_id = place.submit(steps=9, hang_at=2, no_checkpoints=True)
        began = time.monotonic()
        job = place.run(job_id, stall_seconds=1, max_attempts=1)
        assert 1 <= time.monotonic() - began < 8
        assert job.status == "failed" and job.error is not None and job.error["code"] == "stalled"
        assert not alive(place.facts(job_id)["pid"])

    def test_a_slow_one_is_not(self, place: Workplace) -> None:
        """Ten median steps are waited for, where that is longer than stall_seconds."""
        job_id = place.submit(steps=6, step_seconds=0.2, slow_at={"step": 5, "seconds": 1.4})
        job = place.run(job_id, stall_seconds=1)
        assert (job.status, job.attempt) == ("succeeded", 1)


class TestRequests:
    def test_cancel(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.05)
        with place.running(job_id) as thread:
            place.repository.request_cancel(job_id)
            thread.join(3)
        job = place.repository.get(job_id)
        assert (job.status, job.requested) == ("cancelled", None) and job.finished_at is not None
        assert not alive(place.facts(job_id)["pid"])
        assert place.woken == []

    def test_cancel_of_a_trainer_that_does_not_listen(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.05, deaf=True, helper=True)
        with place.running(job_id, grace_seconds=60) as thread:
            began = time.monotonic()
            place.repository.request_cancel(job_id)
            thread.join(10)
        assert 1 <= time.monotonic() - began < 5  # cancel_grace_seconds is 1 here
        assert place.repository.get(job_id).status == "cancelled"
        facts = place.facts(job_id)
        eventually(lambda: not alive(facts["pid"]) and not alive(facts["helper"]), "the end of the whole group", 5)

    def test_by_default_cancel_takes_effect_within_ten_seconds(self, place: Workplace) -> None:
        default = type(place.settings)()
        assert default.poll_seconds + default.cancel_grace_seconds + 1 < 10

    def test_pause_and_resume(self, place: Workplace) -> None:
        job_id = place.submit(steps=40, step_seconds=0.05)
        with place.running(job_id):
            place.repository.request_pause(job_id)
        paused = place.repository.get(job_id)
        assert (paused.status, paused.finished_at, place.woken) == ("paused", None, [])
        reached = (paused.progress or {})["step"]
        assert 1 <= reached < 40
        assert place.run(job_id).status == "paused"  # a late message must not start it
        place.repository.resume(job_id)
        job = place.run(job_id)
        assert (job.status, job.attempt) == ("succeeded", 2)
        [resumed] = [event for event in place.repository.events(job_id).data if event.type == "resumed"]
        assert resumed.data["step"] == reached

    def test_cancel_overtakes_a_pause(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.05, deaf=True)
        with place.running(job_id, grace_seconds=60) as thread:
            place.repository.request_pause(job_id)
            eventually(lambda: "pause_requested" in place.history(job_id), "the pause")
            time.sleep(0.3)
            place.repository.request_cancel(job_id)
            thread.join(10)
        assert place.repository.get(job_id).status == "cancelled"


class TestShutdown:
    def test_gives_the_job_back_with_its_progress(self, place: Workplace) -> None:
        shutdown = threading.Event()
        job_id = place.submit(steps=40, step_seconds=0.05)
        with place.running(job_id, shutdown):
            shutdown.set()
        job = place.repository.get(job_id)
        reached = (job.progress or {})["step"]
        assert job.status == "queued" and 1 <= reached < 40 and place.woken == [job_id]
        assert place.run(job_id).status == "succeeded"
        [resumed] = [event for event in place.repository.events(job_id).data if event.type == "resumed"]
        assert resumed.data["step"] == reached

    def test_is_no_crash_however_often(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.02, no_checkpoints=True)
        for _ in range(4):  # max_attempts is 3
            shutdown = threading.Event()
            with place.running(job_id, shutdown):
                shutdown.set()
            assert place.repository.get(job_id).status == "queued"

    def test_begins_nothing_new(self, place: Workplace) -> None:
        shutdown = threading.Event()
        shutdown.set()
        job_id = place.submit()
        place.supervisor(shutdown).run(job_id)
        job = place.repository.get(job_id)
        assert (job.status, job.attempt) == ("queued", 0)


class TestTakenOver:
    def test_kills_its_trainer_and_writes_no_more(self, place: Workplace) -> None:
        job_id = place.submit(steps=1000, step_seconds=0.02)
        with place.running(job_id, poll_seconds=0.6) as thread:
            eventually(lambda: place.seize(job_id), "the lease's end")
            second = place.repository.claim(job_id, "another", 60)
            assert second is not None and second.attempt == 2
            written = len(place.repository.metrics(job_id, limit=10_000).data)
            thread.join(10)
        assert not alive(place.facts(job_id)["pid"])
        job = place.repository.get(job_id)
        assert (job.status, job.attempt) == ("running", 2)
        assert len(place.repository.metrics(job_id, limit=10_000).data) == written
        with pytest.raises(Fenced):
            place.repository.requested(job_id, 1)

    def test_a_database_that_is_away_for_a_moment_costs_nothing(self, place: Workplace) -> None:
        """Away while the trainer runs and when it ends: nothing is lost, and nothing is done twice."""
        folder, away = place.settings.home / "database", place.settings.home / "away"
        job_id = place.submit(steps=20, step_seconds=0.05)
        with place.running(job_id):
            folder.rename(away)
            place.repository.database.engine.dispose()  # new connections find no file
            with pytest.raises(Unavailable):
                place.repository.ping()
            pid = place.facts(job_id)["pid"]
            eventually(lambda: not alive(pid), "the end of the trainer")
            time.sleep(0.5)
            away.rename(folder)
        job = place.repository.get(job_id)
        assert (job.status, job.attempt) == ("succeeded", 1)
        steps = [point.step for point in place.repository.metrics(job_id, name="train_loss").data]
        assert steps == list(range(1, 21))


SUPERVISE = """
import sys
from jobs.database import connect
from jobs.repository import Repository
from jobs.settings import get_settings
from worker.supervisor import Supervisor
settings = get_settings()
Supervisor(Repository(connect(settings.database_url)), settings).run(sys.argv[1])
"""


@pytest.mark.parametrize("behaviour", [{}, {"no_pdeathsig": True}], ids=["both ties", "the pipe alone"])
def test_a_supervisor_that_is_killed_leaves_no_orphan_and_its_job_goes_on(place: Workplace, behaviour: dict[str, bool]) -> None:
    job_id = place.submit(steps=60, step_seconds=0.05, helper=True, **behaviour)
    settings = {
        "HOME": place.settings.home,
        "DATABASE_URL": place.settings.database_url,
        "LEASE_SECONDS": 1,
        "HEARTBEAT_SECONDS": 0.3,
        "POLL_SECONDS": 0.05,
    }
    env = {**os.environ, **{f"IMPRINT_{name}": str(value) for name, value in settings.items()}}
    env["IMPRINT_TRAINER_COMMAND"] = json.dumps(COMMAND)
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISE, job_id], env=env)
    eventually(lambda: (place.repository.get(job_id).progress or {}).get("step", 0) >= 3, "three steps")
    facts = place.facts(job_id)
    assert alive(facts["pid"]) and alive(facts["helper"])
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: not alive(facts["pid"]), "the trainer's end", 5)
    if behaviour:  # the pipe's end takes the whole group; the kernel's word only the trainer
        eventually(lambda: not alive(facts["helper"]), "the helper's end", 5)
    elif alive(facts["helper"]):
        os.kill(facts["helper"], signal.SIGKILL)

    sweeper = Sweeper(place.repository, place.settings, place.woken.append)
    eventually(lambda: sweeper.sweep() and place.woken == [job_id], "the sweep", 5)
    job = place.run(job_id)
    assert (job.status, job.attempt) == ("succeeded", 2)
    [resumed] = [event for event in place.repository.events(job_id).data if event.type == "resumed"]
    assert resumed.data["step"] >= 3
