"""A lease from its holder's side: it ends the trainer in time, and is kept while something takes long."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.processes import alive, eventually
from support.workplace import Workplace
from worker.lease import Lease


def test_is_never_longer_here_than_in_the_database() -> None:
    """Counted from before the question: an answer that took 0.2 s has used 0.2 s of the lease up."""
    asked = time.monotonic()
    time.sleep(0.2)
    lease = Lease(0.5, asked)
    assert 0.2 <= lease.age < 0.5 and not lease.lapsed
    asked = time.monotonic()
    time.sleep(0.2)
    lease.renewed(asked)
    assert 0.2 <= lease.age < 0.4
    time.sleep(0.4)
    assert lease.lapsed


def test_stops_once_and_only_when_it_was_not_renewed() -> None:
    stopped: list[float] = []
    lease = Lease(0.3, time.monotonic())
    with lease.enforced(lambda: stopped.append(lease.age)):
        for _ in range(4):
            time.sleep(0.15)
            lease.renewed(time.monotonic())
        assert stopped == []
        time.sleep(0.6)
    assert len(stopped) == 1 and 0.3 < stopped[0] < 0.5
    assert not {"lease"} & {thread.name for thread in threading.enumerate()}


def test_a_database_that_says_nothing_at_all_does_not_keep_the_trainer_alive(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that hangs, as on a dead network: no error comes, no answer, and meanwhile another worker may begin."""
    job_id = place.submit(steps=1000, step_seconds=0.02)
    back = threading.Event()
    record = place.repository.record

    def hangs(*args: Any, **more: Any) -> Any:
        back.wait(20)
        return record(*args, **more)

    with place.running(job_id, lease_seconds=1.0):
        trainer = place.facts(job_id)["pid"]
        monkeypatch.setattr(place.repository, "record", hangs)
        began = time.monotonic()
        eventually(lambda: not alive(trainer), "the end of the trainer", 5)
        assert time.monotonic() - began < 3
        back.set()
    job = place.repository.get(job_id)
    assert (job.status, job.error) == ("queued", None), "nobody had taken it over: it goes on, and that was no crash"
    [queued] = [event.data for event in place.repository.events(job_id, limit=1000).data if event.type == "queued"]
    assert queued["why"] == "lapsed" and place.woken == [job_id]


def test_is_kept_while_a_slow_disk_takes_the_encoder(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of 0.7 s each, under a lease of 0.6 s, with sweeps all the time."""
    copy: Callable[..., Any] = shutil.copyfile

    def slowly(*args: Any, **more: Any) -> Any:
        time.sleep(0.7)
        return copy(*args, **more)

    monkeypatch.setattr("jobs.artifacts.shutil.copyfile", slowly)
    job_id = place.submit(steps=2)
    over = threading.Event()

    def sweep() -> None:
        while not over.wait(0.05):
            place.repository.expire_leases(3)

    sweeps = threading.Thread(target=sweep)
    sweeps.start()
    try:
        job = place.run(job_id, lease_seconds=0.6, heartbeat_seconds=0.1)
    finally:
        over.set()
        sweeps.join(10)
    assert (job.status, job.attempt) == ("succeeded", 1), place.history(job_id)
