"""From claim to end, on both databases: who may write, what becomes of a job, and what is written down about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.errors import Conflict, Fenced, NotFound
from jobs.records import Claim, EncoderDraft, JobRecord, Point, Report
from jobs.repository import Repository

Submit = Callable[..., JobRecord]
Running = Callable[..., Claim]
CRASH: dict[str, Any] = {"code": "crashed", "message": "it was ended by SIGSEGV", "hint": "the log says more"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def history(repository: Repository, job_id: str) -> list[str]:
    return [event.type for event in repository.events(job_id).data]


class TestClaim:
    def test_takes_a_queued_job_once(self, repository: Repository, submit: Submit) -> None:
        job = submit(spec={"trainer": {"seed": 7}})
        claim = repository.claim(job.id, "one", 30)
        assert claim is not None and (claim.job_id, claim.attempt, claim.spec) == (job.id, 1, {"trainer": {"seed": 7}})
        assert repository.claim(job.id, "two", 30) is None
        record = repository.get(job.id)
        assert (record.status, record.attempt, record.requested) == ("running", 1, None)
        assert record.started_at is not None and abs(record.started_at - datetime.now(UTC)) < timedelta(seconds=5)

    def test_of_a_job_that_is_not_there_is_nothing(self, repository: Repository) -> None:
        assert repository.claim("job_01JZ8X3M6Q4T9V2B7C5D8E1F0G", "one", 30) is None

    def test_every_attempt_has_a_higher_number_and_the_first_start_is_kept(
        self, repository: Repository, running: Running
    ) -> None:
        first = running()
        started = repository.get(first.job_id).started_at
        repository.stopped(first.job_id, first.attempt, "shutdown")
        second = repository.claim(first.job_id, "two", 30)
        assert second is not None and second.attempt == 2
        assert repository.get(first.job_id).started_at == started


class TestPreparing:
    def test_counts_files_from_the_first_step_or_from_that_of_the_attempt_before(
        self, repository: Repository, running: Running
    ) -> None:
        """Whoever polls `progress.step` finds a number, whatever the job is at."""
        claim = running()
        files = {"images_prepared": 3, "images_total": 9}
        repository.record(claim.job_id, claim.attempt, Report(progress=files), 30)
        assert repository.get(claim.job_id).progress == {"epoch": 0, "step": 0, "fraction": 0.0, **files}
        trained = {"epoch": 1, "step": 40, "steps_total": 80, "fraction": 0.5}
        repository.record(claim.job_id, claim.attempt, Report(progress=trained), 30)
        assert repository.get(claim.job_id).progress == trained
        repository.record(claim.job_id, claim.attempt, Report(progress=files), 30)
        assert repository.get(claim.job_id).progress == {**trained, **files}


class TestFencing:
    """A supervisor that was taken over writes nothing more, whatever it tries."""

    @pytest.mark.parametrize(
        "write",
        [
            lambda repository, old, draft: repository.record(old.job_id, old.attempt, Report(progress={"step": 999}), 30),
            lambda repository, old, draft: repository.succeed(old.job_id, old.attempt, draft),
            lambda repository, old, draft: repository.fail(old.job_id, old.attempt, CRASH),
            lambda repository, old, draft: repository.stopped(old.job_id, old.attempt, "cancel"),
            lambda repository, old, draft: repository.crashed(old.job_id, old.attempt, CRASH, 3),
        ],
        ids=["record", "succeed", "fail", "stopped", "crashed"],
    )
    def test_of_every_write(
        self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft], write: Callable[..., Any]
    ) -> None:
        old = running(lease_seconds=0.01)
        time.sleep(0.05)
        assert repository.expire_leases(3) == [old.job_id]
        for state in ("queued", "running"):  # before and after the next attempt begins
            before = repository.get(old.job_id), repository.events(old.job_id).data
            assert before[0].status == state
            with pytest.raises(Fenced):
                write(repository, old, draft())
            assert (repository.get(old.job_id), repository.events(old.job_id).data) == before
            repository.claim(old.job_id, "two", 30)
        assert repository.encoders().data == [] and repository.metrics(old.job_id).data == []

    def test_of_what_has_ended(self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft]) -> None:
        claim = running()
        repository.succeed(claim.job_id, claim.attempt, draft())
        with pytest.raises(Fenced):
            repository.fail(claim.job_id, claim.attempt, CRASH)
        assert repository.get(claim.job_id).status == "succeeded"


class TestRecord:
    def test_keeps_the_latest_of_everything(self, repository: Repository, running: Running) -> None:
        claim = running()
        first = Report(
            progress={"epoch": 0, "step": 10, "steps_total": 100, "fraction": 0.1},
            phase="training",
            points=[Point("train_loss", 10, 0, 5.5, NOW), Point("knn_top1", 0, 0, 57.0, NOW)],
            health={"verdict": "unknown", "reasons": []},
            events=[("warning", {"message": "it is slow"})],
        )
        assert repository.record(claim.job_id, claim.attempt, first, 30) is None
        repository.record(claim.job_id, claim.attempt, Report(points=[Point("train_loss", 20, 0, 4.5, NOW)]), 30)
        job = repository.get(claim.job_id)
        assert job.metrics == {"train_loss": 4.5, "knn_top1": 57.0}  # merged, not replaced
        assert job.progress is not None and job.progress["step"] == 10
        assert (job.phase, job.health) == ("training", {"verdict": "unknown", "reasons": []})
        [warning] = [event for event in repository.events(job.id).data if event.type == "warning"]
        assert warning.data["message"] == "it is slow" and warning.data["attempt"] == 1

    def test_what_the_trainer_chose_joins_the_notes_once(self, repository: Repository, running: Running) -> None:
        claim = running()
        before = repository.get(claim.job_id).notes
        for message in ("a", "b", "a"):
            repository.record(claim.job_id, claim.attempt, Report(events=[("note", {"message": message})]), 30)
        assert repository.get(claim.job_id).notes == [*before, "a", "b"]

    def test_a_step_trained_twice_has_one_value_the_last(self, repository: Repository, running: Running) -> None:
        claim = running()
        for value in (5.0, 4.0):
            burst = [Point("train_loss", step, 0, value, NOW) for step in (1, 2, 2)]
            repository.record(claim.job_id, claim.attempt, Report(points=burst), 30)
        page = repository.metrics(claim.job_id, name="train_loss")
        assert [(point.step, point.value, point.at) for point in page.data] == [(1, 4.0, NOW), (2, 4.0, NOW)]

    def test_takes_a_burst_and_values_that_are_no_numbers(self, repository: Repository, running: Running) -> None:
        claim = running()
        points = [Point(f"metric_{step % 7}", step, step // 100, None if step == 3 else step / 3, NOW) for step in range(5000)]
        repository.record(claim.job_id, claim.attempt, Report(points=points), 30)
        found = repository.metrics(claim.job_id, limit=10_000).data
        assert len(found) == 5000 and [point.value for point in found if point.step == 3] == [None]

    def test_renews_the_lease(self, repository: Repository, running: Running) -> None:
        claim = running(lease_seconds=0.3)
        for _ in range(4):
            time.sleep(0.15)
            repository.record(claim.job_id, claim.attempt, Report(), 0.3)
        assert repository.expire_leases(3) == []  # 0.6 s after the claim
        time.sleep(0.4)
        assert repository.expire_leases(3) == [claim.job_id]

    def test_tells_what_the_user_asks_for(self, repository: Repository, running: Running) -> None:
        claim = running()
        repository.request_pause(claim.job_id)
        assert repository.record(claim.job_id, claim.attempt, Report(), 30) == "pause"
        repository.request_cancel(claim.job_id)
        assert repository.record(claim.job_id, claim.attempt, Report(), 30) == "cancel"


class TestEnds:
    def test_succeeded_with_its_encoder(
        self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft]
    ) -> None:
        claim = running()
        repository.succeed(claim.job_id, claim.attempt, draft(folder="/x/enc.1"))
        job = repository.get(claim.job_id)
        assert job.status == "succeeded" and job.finished_at is not None and job.finished_at >= job.created_at
        assert job.encoder_id == "enc_" + claim.job_id.removeprefix("job_")
        encoder = repository.encoder(job.encoder_id)
        assert (encoder.job_id, encoder.folder, encoder.dim, encoder.metrics) == (job.id, "/x/enc.1", 512, {"knn_top1": 93.5})

    def test_failed_with_its_reason_and_resumed_without(self, repository: Repository, running: Running) -> None:
        claim = running()
        error = {"code": "data_error", "message": "photos is empty", "hint": "put pictures there"}
        repository.fail(claim.job_id, claim.attempt, error)
        failed = repository.get(claim.job_id)
        assert (failed.status, failed.error) == ("failed", error) and failed.finished_at is not None
        again = repository.resume(claim.job_id)
        assert (again.status, again.error, again.finished_at) == ("queued", None, None)

    @pytest.mark.parametrize(("why", "status"), [("cancel", "cancelled"), ("pause", "paused"), ("shutdown", "queued")])
    def test_stopped(self, repository: Repository, running: Running, why: Any, status: str) -> None:
        claim = running()
        repository.record(claim.job_id, claim.attempt, Report(progress={"step": 40}), 30)
        if why != "shutdown":
            getattr(repository, f"request_{why}")(claim.job_id)
        repository.stopped(claim.job_id, claim.attempt, why)
        job = repository.get(claim.job_id)
        assert (job.status, job.requested, job.progress) == (status, None, {"step": 40})
        assert (job.finished_at is not None) == (status == "cancelled")

    @pytest.mark.parametrize(
        ("asked", "why", "status"),
        [
            (["cancel"], "shutdown", "cancelled"),  # the worker was stopped before its supervisor saw the request
            (["pause"], "shutdown", "paused"),
            (["pause", "cancel"], "pause", "cancelled"),  # the user changed their mind while the trainer wrote its checkpoint
            (["pause", "resume"], "pause", "queued"),
        ],
    )
    def test_stopped_while_the_user_asked_for_something_else(
        self, repository: Repository, running: Running, asked: list[str], why: Any, status: str
    ) -> None:
        """What the user asked last is what happens."""
        claim = running()
        for each in asked:
            (repository.resume if each == "resume" else getattr(repository, f"request_{each}"))(claim.job_id)
        repository.stopped(claim.job_id, claim.attempt, why)
        assert repository.get(claim.job_id).status == status

    def test_every_change_of_state_is_an_event_with_who_and_why(self, repository: Repository, running: Running) -> None:
        claim = running()
        repository.crashed(claim.job_id, claim.attempt, CRASH, 3)
        repository.request_cancel(claim.job_id)
        repository.resume(claim.job_id)
        events = repository.events(claim.job_id).data
        assert [event.type for event in events] == ["created", "running", "queued", "cancelled", "queued"]
        assert [event.data["by"] for event in events] == ["user", "worker-1", "worker-1", "user", "user"]
        assert events[2].data["why"] == "crashed" and events[2].data["error"] == CRASH
        assert [event.id for event in events] == sorted(event.id for event in events)


class TestRequests:
    def test_cancel_of_what_waits_is_immediate_and_idempotent(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        assert [repository.request_cancel(job.id).status for _ in range(2)] == ["cancelled", "cancelled"]
        assert history(repository, job.id) == ["created", "cancelled"]
        assert repository.claim(job.id, "w", 30) is None  # the wake-up that is still under way finds nothing

    def test_cancel_of_what_runs_is_a_request_written_once(self, repository: Repository, running: Running) -> None:
        claim = running()
        for _ in range(2):
            record = repository.request_cancel(claim.job_id)
            assert (record.status, record.requested) == ("running", "cancel")
        assert history(repository, claim.job_id) == ["created", "running", "cancel_requested"]

    def test_pause_of_what_is_being_cancelled_is_refused(self, repository: Repository, running: Running) -> None:
        claim = running()
        repository.request_cancel(claim.job_id)
        with pytest.raises(Conflict, match="being cancelled"):
            repository.request_pause(claim.job_id)

    def test_what_the_state_does_not_allow_names_the_state(
        self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft]
    ) -> None:
        claim = running()
        repository.succeed(claim.job_id, claim.attempt, draft())
        for ask in (repository.request_cancel, repository.request_pause, repository.resume):
            with pytest.raises(Conflict, match="is succeeded"):
                ask(claim.job_id)

    def test_of_a_job_that_is_not_there(self, repository: Repository) -> None:
        for ask in (repository.get, repository.request_cancel, repository.request_pause, repository.resume, repository.events):
            with pytest.raises(NotFound, match="job_nope"):
                ask("job_nope")

    def test_resume_of_what_waits_or_runs_changes_nothing(self, repository: Repository, running: Running, submit: Submit) -> None:
        for job_id in (running().job_id, submit().id):
            before = repository.get(job_id)
            assert repository.resume(job_id) == before
