"""The broker is killed, stopped for a while, or comes back with nothing of what it held."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

from faults.bench import Bench
from faults.drill import Drill
from faults.drills.places import two_workers

HOW = ("killed", "stopped", "wiped")


def trial(place: Bench, dice: random.Random, number: int) -> None:
    place.keep_working()
    place.ready()
    how = HOW[number % len(HOW)]
    jobs = [place.submit(steps=30, step_seconds=0.03) for _ in range(3)]  # one runs with each worker, one waits
    time.sleep(dice.uniform(0, 1.5))
    pid = place.broker_pid()
    if how == "stopped":
        os.kill(pid, signal.SIGSTOP)
        jobs += [place.submit(steps=5)]
        time.sleep(3 if number < len(HOW) else 30)
        os.kill(pid, signal.SIGCONT)
    else:
        os.kill(pid, signal.SIGKILL)
        place.stop_broker()
        jobs += [place.submit(steps=5)]
        if how == "wiped":
            shutil.rmtree(place.folder / "valkey")
        time.sleep(dice.uniform(0, 2))
        place.start_broker()
    jobs += [place.submit(steps=5)]
    for job_id, steps in zip(jobs, [30, 30, 30, 5, 5], strict=True):
        job = place.assert_once(job_id, steps)
        assert job.attempt == 1, "what runs does not need the broker"
    assert all(worker.running for worker in place.workers)


DRILL = Drill(
    "broker_attacked",
    "broker killed, stopped (3 s, later 30 s), wiped",
    "every job ends, in one attempt; never two trainers",
    two_workers,
    trial,
    quick=3,
)
