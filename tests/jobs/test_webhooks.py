"""The outbox: what is written with a change, who sees it, and one message at a time until it has arrived."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook as Oracle

from jobs.access import Caller
from jobs.errors import NotFound, TooMany
from jobs.outbox import TYPES
from jobs.records import Claim, EncoderDraft, JobDraft, JobRecord, Report
from jobs.repository import Repository
from jobs.signing import new_signing_secret, sign
from jobs.webhooks import ATTEMPTS, MOST, Sending, Webhooks, pause_ms

URL = "https://example.org/hook"
ALICE, BOB = (Caller(name, name, frozenset({"read", "submit"}), name) for name in ("alice", "bob"))


@pytest.fixture
def hooks(repository: Repository) -> Webhooks:
    return Webhooks(repository.database)


def now(repository: Repository, **moved: int) -> None:
    """Let everything in the outbox be due, every lease over."""
    with repository.database.write() as session:
        session.execute(text("UPDATE deliveries SET due_ms = 0"))
        session.execute(text("UPDATE webhooks SET lease_ms = 0"))


def types(hooks: Webhooks, webhook_id: str) -> list[str]:
    return [each.type for each in reversed(hooks.deliveries(webhook_id, limit=100).data)]


class TestOutbox:
    def test_every_change_of_state_is_a_message(
        self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord], draft: Callable[..., EncoderDraft]
    ) -> None:
        _, hook = hooks.create(URL, TYPES)
        job = submit(name="first", labels={"team": "a"})
        claim = repository.claim(job.id, "w", 60)
        assert claim is not None
        for verdict in ("warming_up", "warming_up", "collapsed"):
            repository.record(job.id, 1, Report(health={"verdict": verdict}), 60)
        repository.crashed(job.id, 1, {"code": "crashed", "message": "oh", "hint": ""}, 3)
        assert repository.claim(job.id, "w", 60) is not None
        repository.succeed(job.id, 2, draft())
        states = ["queued", "running", "health", "health", "queued", "running", "succeeded"]
        assert types(hooks, hook.id) == [f"job.{state}" for state in states]

        bodies = []
        while (sending := hooks.claim(60)) is not None:
            bodies.append(json.loads(sending.body))
            assert hooks.record(sending, answer=204, error=None) == "delivered"
        first, collapsed, again, last = bodies[0], bodies[3], bodies[4], bodies[-1]
        assert first["data"]["job"]["labels"] == {"team": "a"} and first["data"]["why"]["by"] == "user"
        assert collapsed["data"]["job"]["health"]["verdict"] == "collapsed" and collapsed["data"]["why"]["before"] == "warming_up"
        assert again["data"]["why"]["why"] == "crashed"
        told = last["data"]["job"]
        assert (told["id"], told["status"], told["attempt"]) == (job.id, "succeeded", 2)
        assert told["encoder"] == "enc_" + job.id.removeprefix("job_") and "spec" not in told
        assert datetime.fromisoformat(last["timestamp"]).tzinfo == UTC and last["type"] == "job.succeeded"

    def test_only_what_was_asked_for(self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        _, hook = hooks.create(URL, ["job.cancelled"])
        repository.request_cancel(submit().id)
        assert types(hooks, hook.id) == ["job.cancelled"]

    def test_a_change_that_is_taken_back_is_not_told(self, repository: Repository, hooks: Webhooks) -> None:
        _, hook = hooks.create(URL, TYPES)
        with pytest.raises(TooMany):
            repository.create(JobDraft(None, "pretrain", "simclr", {}), max_queued=0)
        assert types(hooks, hook.id) == []

    def test_a_job_s_owner_is_told_whoever_acts(self, repository: Repository, hooks: Webhooks) -> None:
        """A job that is everybody's is cancelled by alice: everybody's webhook hears of it, and bob's does not."""
        everybody, theirs = hooks.create(URL, TYPES)[1], Webhooks(repository.database, BOB).create(URL, TYPES)[1]
        job = repository.create(JobDraft(None, "pretrain", "simclr", {}))
        repository.on_behalf_of(ALICE).request_cancel(job.id)
        assert types(hooks, everybody.id) == ["job.queued", "job.cancelled"] and types(hooks, theirs.id) == []
        repository.on_behalf_of(BOB).create(JobDraft(None, "pretrain", "simclr", {}))
        assert types(hooks, theirs.id) == ["job.queued"] and len(types(hooks, everybody.id)) == 2

    def test_a_disabled_webhook_is_written_nothing(self, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        _, hook = hooks.create(URL, TYPES)
        hooks.enable(hook.id, False)
        submit()
        assert types(hooks, hook.id) == []


class TestOwners:
    def test_a_webhook_is_its_owner_s_alone(self, repository: Repository, hooks: Webhooks) -> None:
        mine, theirs = Webhooks(repository.database, ALICE), Webhooks(repository.database, BOB)
        _, hook = mine.create(URL, TYPES)
        _, everybody = hooks.create(URL, TYPES)
        for act in (theirs.get, theirs.remove, theirs.test, theirs.deliveries, lambda each: theirs.enable(each, False)):
            for webhook_id in (hook.id, everybody.id):  # even everybody's: its URL may be a secret
                with pytest.raises(NotFound):
                    act(webhook_id)
        assert [each.id for each in mine.list().data] == [hook.id] and theirs.list().data == []
        assert [each.id for each in hooks.list().data] == [everybody.id, hook.id], "an admin sees all"

    def test_so_many_and_no_more(self, hooks: Webhooks) -> None:
        for _ in range(MOST):
            hooks.create(URL, TYPES)
        with pytest.raises(TooMany):
            hooks.create(URL, TYPES)
        page = hooks.list(limit=15)
        assert page.has_more and len(hooks.list(limit=15, after=page.data[-1].id).data) == MOST - 15

    def test_removed_with_its_messages(self, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        _, hook = hooks.create(URL, TYPES)
        submit()
        sending = hooks.claim(60)
        assert sending is not None
        hooks.remove(hook.id)
        assert hooks.record(sending, answer=204, error=None) is None and hooks.claim(60) is None


class TestDelivery:
    def claimed(self, hooks: Webhooks) -> Sending:
        sending = hooks.claim(60)
        assert sending is not None
        return sending

    def test_one_at_a_time_to_each_and_the_longest_due_first(self, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        one, two = (hooks.create(URL, TYPES)[1].id for _ in range(2))
        submit(), submit()
        first, second = self.claimed(hooks), self.claimed(hooks)
        assert {first.webhook_id, second.webhook_id} == {one, two} and hooks.claim(60) is None
        hooks.record(first, answer=200, error=None)
        third = self.claimed(hooks)
        assert third.webhook_id == first.webhook_id and third.id > first.id

    def test_after_a_crash_the_same_message_and_the_late_record_is_void(
        self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]
    ) -> None:
        hooks.create(URL, TYPES)
        submit()
        lost = self.claimed(hooks)
        assert hooks.claim(60) is None
        now(repository)
        again = self.claimed(hooks)
        assert (again.id, again.body, again.attempt) == (lost.id, lost.body, 2)
        assert hooks.record(lost, answer=None, error="too late") is None
        assert hooks.record(again, answer=204, error=None) == "delivered"

    def test_tried_again_later_and_later_for_about_a_day(self) -> None:
        pauses = [[pause_ms(attempt) / 1000 for _ in range(200)] for attempt in range(1, ATTEMPTS)]
        assert all(4 <= pause <= 6 for pause in pauses[0]) and len(set(pauses[0])) > 100
        assert all(16 <= pause <= 24 for pause in pauses[1])
        middle = sum(sorted(each)[100] for each in pauses)
        assert 17 * 3600 < middle < 30 * 3600

    def test_a_webhook_that_takes_nothing_is_disabled(
        self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]
    ) -> None:
        _, hook = hooks.create(URL, TYPES)
        submit()
        for attempt in range(1, ATTEMPTS + 1):
            now(repository)
            status = hooks.record(self.claimed(hooks), answer=503, error="answered 503")
            assert status == ("pending" if attempt < ATTEMPTS else "failed")
        found = hooks.get(hook.id)
        assert found.disabled_at is not None and "503" in str(found.disabled_why) and found.failed == 1
        assert hooks.enable(hook.id, True).disabled_at is None
        hooks.test(hook.id)
        assert hooks.record(self.claimed(hooks), answer=204, error=None) == "delivered"

    def test_one_bad_message_does_not_disable_what_takes_others(
        self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]
    ) -> None:
        _, hook = hooks.create(URL, TYPES)
        submit()
        bad = self.claimed(hooks)
        hooks.record(bad, answer=500, error="no")
        submit()
        hooks.record(self.claimed(hooks), answer=204, error=None)
        for _ in range(ATTEMPTS - 1):
            now(repository)
            hooks.record(self.claimed(hooks), answer=500, error="no")
        assert hooks.get(hook.id).disabled_at is None and hooks.deliveries(hook.id).data[-1].status == "failed"

    def test_gone_is_gone(self, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        _, hook = hooks.create(URL, TYPES)
        submit()
        assert hooks.record(self.claimed(hooks), answer=410, error="answered 410") == "failed"
        assert "410" in str(hooks.get(hook.id).disabled_why)

    def test_old_messages_are_removed(self, repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]) -> None:
        _, hook = hooks.create(URL, TYPES)
        submit(), submit()
        hooks.record(self.claimed(hooks), answer=204, error=None)
        assert hooks.clean() == 0
        with repository.database.write() as session:
            session.execute(text("UPDATE deliveries SET created_ms = 0"))
        assert hooks.clean() == 1
        assert [each.status for each in hooks.deliveries(hook.id).data] == ["pending"]


def test_a_webhook_that_is_deleted_at_this_moment_harms_no_job(
    repository: Repository, hooks: Webhooks, submit: Callable[..., JobRecord]
) -> None:
    """A message to what is just being deleted would be refused by the foreign key, and the job's change with it."""
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            _, hook = hooks.create(URL, TYPES)
            sending = hooks.claim(60)
            hooks.remove(hook.id)
            if sending is not None:
                assert hooks.record(sending, answer=204, error=None) is None

    with ThreadPoolExecutor(1) as other:
        churning = other.submit(churn)
        try:
            for _ in range(25):
                repository.request_cancel(submit().id)
        finally:
            over.set()
        churning.result(20)


class TestSignatures:
    def test_are_those_of_standard_webhooks(self) -> None:
        secret, body = new_signing_secret(), '{"type": "job.succeeded", "name": "été ☀"}'
        moment = int(datetime.now(UTC).timestamp())
        ours = sign(secret, "msg_1", moment, body)
        assert ours == Oracle(secret).sign("msg_1", datetime.fromtimestamp(moment, UTC), body)
        sent = {"webhook-id": "msg_1", "webhook-timestamp": str(moment), "webhook-signature": ours}
        assert Oracle(secret).verify(body, sent)["type"] == "job.succeeded"

    def test_secrets_are_long_and_never_the_same(self) -> None:
        made = {new_signing_secret() for _ in range(50)}
        assert len(made) == 50 and all(len(base64.b64decode(each.removeprefix("whsec_"))) == 32 for each in made)


def test_the_loser_of_a_claim_leaves_no_message(repository: Repository, hooks: Webhooks, running: Callable[..., Claim]) -> None:
    claim = running()
    _, hook = hooks.create(URL, TYPES)
    assert repository.claim(claim.job_id, "late", 60) is None and types(hooks, hook.id) == []
