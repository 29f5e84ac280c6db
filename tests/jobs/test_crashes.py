"""What becomes of jobs whose trainer crashed, whose worker was lost, or for whom nobody was woken; on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from jobs.records import Claim, JobRecord, Report
from jobs.repository import Repository

Submit = Callable[..., JobRecord]
Running = Callable[..., Claim]
CRASH: dict[str, Any] = {"code": "crashed", "message": "it was ended by SIGSEGV", "hint": "the log says more"}


class TestWhatTheTrainerFound:
    def test_stays_with_the_job(self, repository: Repository, submit: Submit) -> None:
        job = submit(notes=["a choice"])
        assert (job.notes, job.data) == (["a choice"], None)
        claim = repository.claim(job.id, "w", 30)
        assert claim is not None
        found = {"images": 9, "unreadable": 1, "unreadable_examples": [["a.png", "truncated"]]}
        repository.record(job.id, claim.attempt, Report(data=found), 30)
        repository.record(job.id, claim.attempt, Report(phase="training"), 30)
        assert repository.get(job.id).data == found


class TestCrashes:
    def crash(self, repository: Repository, job_id: str, reached: int | None) -> str:
        claim = repository.claim(job_id, "w", 30)
        assert claim is not None
        if reached is not None:
            repository.record(job_id, claim.attempt, Report(checkpoint_step=reached), 30)
        return str(repository.crashed(job_id, claim.attempt, CRASH, 3))

    def test_without_progress_are_given_up(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        assert [self.crash(repository, job.id, None) for _ in range(3)] == ["queued", "queued", "failed"]
        failed = repository.get(job.id)
        assert failed.error is not None and failed.error["code"] == "crashed" and failed.error["hint"] == CRASH["hint"]
        assert "SIGSEGV" in failed.error["message"] and "3 times" in failed.error["message"]

    def test_with_progress_between_them_are_not_poison(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        assert [self.crash(repository, job.id, step) for step in (10, 20, 30, 40, 50)] == ["queued"] * 5

    def test_only_the_row_of_crashes_since_the_last_progress_counts(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        reached = [None, None, 10, None, 10, None]  # the fifth came no further than the third
        assert [self.crash(repository, job.id, step) for step in reached] == ["queued"] * 5 + ["failed"]

    def test_a_resume_by_hand_gives_new_attempts(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        for _ in range(3):
            self.crash(repository, job.id, None)
        assert repository.resume(job.id).status == "queued"
        assert [self.crash(repository, job.id, None) for _ in range(2)] == ["queued", "queued"]

    @pytest.mark.parametrize(("ask", "status"), [("request_cancel", "cancelled"), ("request_pause", "paused")])
    def test_of_a_job_that_was_to_stop_anyway(self, repository: Repository, running: Running, ask: str, status: str) -> None:
        claim = running()
        getattr(repository, ask)(claim.job_id)
        assert repository.crashed(claim.job_id, claim.attempt, CRASH, 3) == status


class TestSweep:
    def test_leaves_living_leases_alone(self, repository: Repository, running: Running, submit: Submit) -> None:
        running()
        submit()
        assert repository.expire_leases(3) == []

    def test_twice_is_once(self, repository: Repository, running: Running) -> None:
        claim = running(lease_seconds=0.01)
        time.sleep(0.05)
        assert (repository.expire_leases(3), repository.expire_leases(3)) == ([claim.job_id], [])
        assert [event.type for event in repository.events(claim.job_id).data].count("queued") == 1

    def test_gives_up_on_what_kills_its_workers(self, repository: Repository, submit: Submit) -> None:
        job = submit()
        for expected in ("queued", "queued", "failed"):
            assert repository.claim(job.id, "w", 0.01) is not None
            time.sleep(0.03)
            repository.expire_leases(3)
            assert repository.get(job.id).status == expected
        error = repository.get(job.id).error
        assert error is not None and "not heard of" in error["message"] and error["hint"]

    def test_carries_out_a_cancel_whose_worker_is_lost(self, repository: Repository, running: Running) -> None:
        claim = running(lease_seconds=0.01)
        repository.request_cancel(claim.job_id)
        time.sleep(0.05)
        assert repository.expire_leases(3) == []
        assert repository.get(claim.job_id).status == "cancelled"

    def test_finds_what_nobody_was_woken_for(self, repository: Repository, submit: Submit, running: Running) -> None:
        running()
        old, new = submit(), submit()
        assert repository.stale_queued(3600) == []
        time.sleep(0.05)
        assert repository.stale_queued(0.01) == [old.id, new.id]
        assert repository.stale_queued(0.5) == []  # they count as woken now
