"""From a change of a job to a request that the receiver can verify; and a courier that is killed in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from sqlalchemy import text
from standardwebhooks import Webhook as Oracle
from standardwebhooks.webhooks import WebhookVerificationError

from jobs.outbox import TYPES
from jobs.webhooks import Webhooks
from support.processes import eventually
from support.receivers import receiver
from support.workplace import Workplace
from worker.courier import Courier
from worker.telemetry import Telemetry

SEND_AND_WAIT = """
import sys
from jobs.database import connect
from jobs.settings import Settings
from jobs.webhooks import Webhooks
from worker.courier import Courier
from worker.telemetry import Telemetry
url, home = sys.argv[1:]
hooks = Webhooks(connect(url))
hooks.record = lambda *_, **__: sys.stdin.read()      # it has been sent, and is not written down yet
courier = Courier(hooks, Settings(home=home, outbound_private="all"), Telemetry())
courier.deliver(hooks.claim(60))
"""


def courier(place: Workplace) -> Courier:
    settings = place.settings.model_copy(update={"outbound_private": "127.0.0.0/8"})
    return Courier(Webhooks(place.repository.database), settings, Telemetry())


def test_from_a_job_s_end_to_a_verified_message(place: Workplace) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver() as there:
        secret, hook = hooks.create(f"{there.url}/hook", ["job.succeeded"])
        job = place.run(place.submit(steps=2))
        rounds = courier(place).rounds(every=0.02)
        rounds.start()
        eventually(lambda: hooks.get(hook.id).delivered == 1, "the message is delivered")
        rounds.stop()
    [received] = there.received
    body = Oracle(secret).verify(received.body, received.headers)
    assert body["type"] == "job.succeeded" and body["data"]["job"]["id"] == job.id
    assert body["data"]["job"]["encoder"] == job.encoder_id and body["data"]["job"]["metrics"]["train_loss"] == 0.5
    assert received.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Oracle(secret).verify(received.body.replace(b"succeeded", b"cancelled"), received.headers)


def test_tried_again_until_it_is_taken(place: Workplace) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver(lambda number: (503, {}, b"closed \x1b[31mtoday") if number < 2 else 200) as there:
        _, hook = hooks.create(there.url, TYPES)
        place.submit()
        sender = courier(place)
        for attempt in (1, 2, 3):
            sending = hooks.claim(60)
            assert sending is not None and sending.attempt == attempt
            assert sender.deliver(sending) == ("pending" if attempt < 3 else "delivered")
            [told] = hooks.deliveries(hook.id).data
            if attempt < 3:
                assert told.answer == 503 and told.error == "answered 503: closed  [31mtoday" and told.next_at is not None
                assert 3 < (told.next_at - told.tried_at).total_seconds() / 4 ** (attempt - 1) < 7  # type: ignore[operator]
                assert hooks.claim(60) is None, "not before it is due"
                with place.repository.database.write() as session:
                    session.execute(text("UPDATE deliveries SET due_ms = 0"))
    assert len({received.headers["webhook-id"] for received in there.received}) == 1
    assert len({received.body for received in there.received}) == 1


def in_two_minutes() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=2), usegmt=True)


@pytest.mark.parametrize(
    ("status", "said", "least", "most"),
    [
        (429, "90", 90, 91),
        (503, "90", 90, 91),
        (503, in_two_minutes, 110, 121),
        (429, "1", 3.9, 6.1),  # our own first pause is longer
        (429, "999999999999999", 24 * 3600, 24 * 3600 + 1),
        (503, "Sat, 01 Jan 2000 00:00:00 GMT", 3.9, 6.1),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT", 24 * 3600, 24 * 3600 + 1),
        (429, "soon", 3.9, 6.1),
        (429, "-5", 3.9, 6.1),
        (500, "90", 3.9, 6.1),  # says that it is broken, not when it is well
    ],
)
def test_a_receiver_that_says_when_is_left_alone_until_then(
    place: Workplace, status: int, said: str | Callable[[], str], least: float, most: float
) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver(lambda _: (status, {"Retry-After": said if isinstance(said, str) else said()}, b"")) as there:
        _, hook = hooks.create(there.url, TYPES)
        for _ in range(2):
            place.submit()
        first = hooks.claim(60)
        assert first is not None and courier(place).deliver(first) == "pending"
        told = {each.id: each for each in hooks.deliveries(hook.id).data}[first.id]
        assert told.next_at is not None and told.tried_at is not None
        assert least <= (told.next_at - told.tried_at).total_seconds() <= most
        if least > 60:
            assert hooks.claim(60) is None, "another message would be one too many as well"
            assert hooks.enable(hook.id, False).disabled_at and hooks.enable(hook.id, True).disabled_at is None
        assert eventually(lambda: hooks.claim(60), "after a second at most, or by whoever enables it again")
    assert len(there.received) == 1


def test_gone_is_gone(place: Workplace) -> None:
    """Whatever else it says."""
    hooks = Webhooks(place.repository.database)
    with receiver(lambda _: (410, {"Retry-After": "1"}, b"")) as there:
        _, hook = hooks.create(there.url, TYPES)
        place.submit()
        sending = hooks.claim(60)
        assert sending is not None and courier(place).deliver(sending) == "failed"
        assert hooks.get(hook.id).disabled_why == "it answered 410 Gone"
        place.submit()
        assert hooks.claim(60) is None


def test_one_at_a_time_to_each_receiver_and_several_receivers_at_once(place: Workplace) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver(seconds=0.1) as slow, receiver(seconds=0.1) as other:
        ids = [hooks.create(each.url, TYPES)[1].id for each in (slow, other)]
        for _ in range(4):
            place.submit()
        rounds = courier(place).rounds(every=0.02)
        began = time.monotonic()
        rounds.start()
        eventually(lambda: all(hooks.get(each).delivered == 4 for each in ids), "all are delivered")
        seconds = time.monotonic() - began
        rounds.stop()
        assert slow.most_at_once == other.most_at_once == 1
        assert [each.json()["data"]["job"]["id"] for each in slow.received] == sorted(
            each.json()["data"]["job"]["id"] for each in slow.received
        )
        assert seconds < 8 * 0.1 + 2


def test_killed_between_the_sending_and_the_record_it_is_sent_again(place: Workplace) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver() as there:
        _, hook = hooks.create(there.url, TYPES)
        place.submit()
        command = [sys.executable, "-P", "-c", SEND_AND_WAIT, place.settings.database_url, str(place.settings.home)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        eventually(lambda: there.received, "it is sent")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert hooks.claim(60) is None and hooks.deliveries(hook.id).data[0].status == "pending"
        with place.repository.database.write() as session:
            session.execute(text("UPDATE webhooks SET lease_ms = 0"))  # its lease is over
        sending = hooks.claim(60)
        assert sending is not None
        assert courier(place).deliver(sending) == "delivered"
        first, second = there.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] and first.body == second.body


def test_a_private_address_is_not_sent_to_and_the_log_says_why(place: Workplace) -> None:
    hooks = Webhooks(place.repository.database)
    with receiver() as there:
        _, hook = hooks.create(there.url, TYPES)
        place.submit()
        sending = hooks.claim(60)
        assert sending is not None
        Courier(hooks, place.settings, Telemetry()).deliver(sending)
        assert there.received == []
    [told] = hooks.deliveries(hook.id).data
    assert told.answer is None and "127.0.0.1 is not a public address" in str(told.error)


def test_a_receiver_that_is_away_slows_no_job(place: Workplace) -> None:
    """Nothing of it is in the supervisor's way: a job ends as it does without webhooks."""
    hooks, over = Webhooks(place.repository.database), threading.Event()
    with receiver(lambda _: 204 if over.wait(60) else 500) as hanging:
        hooks.create(hanging.url, TYPES)
        rounds = courier(place).rounds(every=0.02)
        rounds.start()
        job_id = place.submit(steps=2)
        eventually(lambda: hanging.received, "it is asked")
        assert place.run(job_id).status == "succeeded" and len(hanging.received) == 1
        rounds.stop()
        over.set()
