"""Any sequence of what users, workers and time can do to jobs, on both databases, against a model of a few lines.

Time is the database's, here a number that a rule moves. Claims are kept for ever, so that every fence, however old, tries to
write again and again. Takes 10 to 20 s: hundreds of sequences, each step of them a transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from jobs.errors import Conflict, Fenced
from jobs.ids import encoder_id
from jobs.records import Claim, EncoderDraft, JobDraft, Point, Report, ResultDraft
from jobs.repository import Repository
from jobs.status import TERMINAL, TRANSITIONS, JobStatus

LEASE, ATTEMPTS = 10.0, 3
CRASH: dict[str, Any] = {"code": "crashed", "message": "it was ended by SIGSEGV", "hint": ""}
AT = datetime(2026, 1, 2, tzinfo=UTC)
DRAFT = EncoderDraft("resnet18", 512, "simclr", {}, "0" * 64, 1, "encoders/enc_x.1")


@dataclass
class Model:
    """What must be true of one job."""

    status: str = "queued"
    attempt: int = 0
    requested: str | None = None
    lease_ends: int = 0
    failures: int = 0
    claimed_step: int = 0
    checkpoint_step: int = 0
    encoder: bool = False
    result: bool = False
    history: list[str] = field(default_factory=lambda: ["queued"])

    def become(self, status: str) -> None:
        assert JobStatus(status) in TRANSITIONS[JobStatus(self.status)], f"the model itself went from {self.status} to {status}"
        self.status, self.requested = status, None
        self.history.append(status)

    def crash(self) -> str:
        self.failures = 0 if self.checkpoint_step > self.claimed_step else self.failures + 1
        again = "queued" if self.failures < ATTEMPTS else "failed"
        self.become({"cancel": "cancelled", "pause": "paused"}.get(self.requested or "", again))
        return self.status


class Jobs(RuleBasedStateMachine):
    """The repository is given by `machine` below."""

    repository: Repository
    scope = ""
    """Makes keys differ from those of other sequences."""
    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_700_000_000_000
        self.models: dict[str, Model] = {}
        self.keys: dict[str, str] = {}
        self.repository.database.now_ms = lambda session: self.now  # type: ignore[method-assign]

    # What users do

    @precondition(lambda self: len(self.models) < 2)  # few jobs, so that much happens to each
    @rule(target=jobs)
    def submit(self) -> str:
        job_id = self.repository.create(JobDraft(None, "pretrain", "simclr", {"seed": 1})).id
        self.models[job_id] = Model()
        return job_id

    @precondition(lambda self: len(self.models) < 2 or self.keys)
    @rule(target=jobs, key=st.sampled_from(["a", "b"]))
    def submit_with_a_key(self, key: str) -> str:
        draft = JobDraft(None, "pretrain", "simclr", {}, idempotency_key=f"{key}-{self.scope}", request_hash="h")
        job_id = self.repository.create(draft).id
        assert self.keys.setdefault(key, job_id) == job_id, "one key made two jobs"
        self.models.setdefault(job_id, Model())
        return job_id

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        model = self.models[job_id]
        if model.status in ("succeeded", "failed"):
            with pytest.raises(Conflict):
                self.repository.request_cancel(job_id)
            return
        self.repository.request_cancel(job_id)
        if model.status == "running":
            model.requested = "cancel"
        elif model.status != "cancelled":
            model.become("cancelled")

    @rule(job_id=jobs)
    def pause(self, job_id: str) -> None:
        model = self.models[job_id]
        if model.status == "paused":
            self.repository.request_pause(job_id)
        elif model.status != "running" or model.requested == "cancel":
            with pytest.raises(Conflict):
                self.repository.request_pause(job_id)
        else:
            self.repository.request_pause(job_id)
            model.requested = "pause"

    @rule(job_id=jobs)
    def resume(self, job_id: str) -> None:
        model = self.models[job_id]
        if model.status == "succeeded":
            with pytest.raises(Conflict):
                self.repository.resume(job_id)
            return
        self.repository.resume(job_id)
        if model.status == "running":
            model.requested = None if model.requested == "pause" else model.requested
        elif model.status != "queued":
            model.become("queued")
            model.failures = 0

    # What workers do

    @rule(target=claims, job_id=jobs, worker=st.sampled_from(["one", "two"]))
    def claim(self, job_id: str, worker: str) -> Claim | None:
        model = self.models[job_id]
        claim = self.repository.claim(job_id, worker, LEASE)
        assert (claim is not None) == (model.status == "queued")
        if claim is not None:
            model.become("running")
            model.attempt += 1
            model.lease_ends = self.now + int(1000 * LEASE)
            model.claimed_step = model.checkpoint_step
            assert claim.attempt == model.attempt
        return claim

    def write(self, claim: Claim | None, call: Callable[[str, int], Any], then: Callable[[Model], Any]) -> None:
        """What only the living fence may do; from any other it is refused, and (see the invariants) has changed nothing."""
        if claim is None:
            return
        model = self.models[claim.job_id]
        if model.status == "running" and model.attempt == claim.attempt:
            given = call(claim.job_id, claim.attempt)
            expected = then(model)
            assert given == expected or expected is None
        else:
            with pytest.raises(Fenced):
                call(claim.job_id, claim.attempt)

    @rule(claim=claims, step=st.integers(0, 50))
    def heartbeat(self, claim: Claim | None, step: int) -> None:
        report = Report(progress={"step": step}, points=[Point("loss", step, 0, 1.0, AT)], checkpoint_step=step or None)

        def then(model: Model) -> str | None:
            model.lease_ends = self.now + int(1000 * LEASE)
            model.checkpoint_step = step or model.checkpoint_step
            return model.requested

        self.write(claim, lambda job_id, attempt: self.repository.record(job_id, attempt, report, LEASE), then)

    @rule(claim=claims)
    def succeed(self, claim: Claim | None) -> None:
        def then(model: Model) -> None:
            model.become("succeeded")
            model.encoder = True

        self.write(claim, lambda job_id, attempt: self.repository.succeed(job_id, attempt, DRAFT), then)

    @rule(claim=claims)
    def finish(self, claim: Claim | None) -> None:
        def then(model: Model) -> None:
            model.become("succeeded")
            model.result = True

        draft = ResultDraft("vectors/x", {"images": 1})
        self.write(claim, lambda job_id, attempt: self.repository.finish(job_id, attempt, draft), then)

    @rule(claim=claims)
    def fail(self, claim: Claim | None) -> None:
        self.write(
            claim, lambda job_id, attempt: self.repository.fail(job_id, attempt, CRASH), lambda model: model.become("failed")
        )

    @rule(claim=claims)
    def crash(self, claim: Claim | None) -> None:
        self.write(claim, lambda job_id, attempt: self.repository.crashed(job_id, attempt, CRASH, ATTEMPTS), Model.crash)

    @rule(claim=claims, why=st.sampled_from(["cancel", "pause", "shutdown", "lapsed"]))
    def stop(self, claim: Claim | None, why: Any) -> None:
        def then(model: Model) -> str:
            model.become({"cancel": "cancelled", "pause": "paused"}.get(model.requested or "", "queued"))
            return model.status

        self.write(claim, lambda job_id, attempt: self.repository.stopped(job_id, attempt, why), then)

    # What time does

    @rule(seconds=st.sampled_from([0.001, 1.0, LEASE - 0.001, LEASE, LEASE + 0.001, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += round(1000 * seconds)

    @rule()
    def sweep(self) -> None:
        queued = self.repository.expire_leases(ATTEMPTS)
        lost = [
            (job_id, model) for job_id, model in self.models.items() if model.status == "running" and model.lease_ends < self.now
        ]
        assert sorted({*queued} & self.models.keys()) == sorted(job_id for job_id, model in lost if model.crash() == "queued")

    @rule(
        target=claims, job_id=jobs, ask=st.sampled_from(["", "cancel", "pause"]), silence=st.sampled_from([LEASE, LEASE + 0.001])
    )
    def worker_is_lost(self, job_id: str, ask: str, silence: float) -> Claim | None:
        claim = self.claim(job_id, "three")
        if ask:
            self.cancel(job_id) if ask == "cancel" else self.pause(job_id)
        self.time_passes(silence)
        self.sweep()
        return claim

    @rule(target=claims, job_id=jobs)
    def crashes_again_and_again(self, job_id: str) -> Claim | None:
        last = None
        while (claim := self.claim(job_id, "four")) is not None:
            self.crash(claim)
            last = claim
        return last

    # What holds always

    @invariant()
    def every_job_is_there_and_as_it_should_be(self) -> None:
        """Accepted is never lost; a fence that is over has written nothing; terminal stays terminal unless a user resumes."""
        found = {job.id: job for job in self.repository.list(limit=20).data if job.id in self.models}
        assert found.keys() == self.models.keys()
        for job_id, model in self.models.items():
            job = found[job_id]
            assert (job.status, job.attempt, job.requested) == (model.status, model.attempt, model.requested)
            assert (job.encoder_id is not None, job.result is not None) == (model.encoder, model.result)
            assert (job.finished_at is not None) == (JobStatus(job.status) in TERMINAL)
            assert job.requested is None or job.status == "running"

    @invariant()
    def a_job_has_at_most_one_encoder_and_only_if_it_succeeded(self) -> None:
        made = [encoder for encoder in self.repository.encoders(limit=20).data if encoder.job_id in self.models]
        assert sorted(each.job_id for each in made) == sorted(job_id for job_id, model in self.models.items() if model.encoder)
        assert all(each.id == encoder_id(each.job_id) for each in made)

    def teardown(self) -> None:
        """The events tell the whole story, in order; every attempt began once; what succeeded never did anything else."""
        for job_id, model in self.models.items():
            events = self.repository.events(job_id, limit=1000).data
            told = ["queued" if event.type == "created" else event.type for event in events]
            assert [type_ for type_ in told if type_ in set(JobStatus)] == model.history
            begun = [event.data["attempt"] for event in events if event.type == "running"]
            assert begun == [*range(1, model.attempt + 1)]
            assert "succeeded" not in model.history[:-1]


def test_any_sequence(repository: Repository, url: str) -> None:
    examples = 80 if url.startswith("sqlite") else 25
    count = iter(range(1_000_000))

    class Machine(Jobs):
        def __init__(self) -> None:
            super().__init__()
            number = next(count)
            self.scope = str(number)  # keys of one sequence mean nothing to the next
            self.now += number * 10**10  # and what it left behind is old

    Machine.repository = repository
    options = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # to make a sequence of 40 steps shorter would take longer than to read it
        suppress_health_check=[*HealthCheck],
    )
    run_state_machine_as_test(Machine, settings=options)
