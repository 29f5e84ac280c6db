"""A worker is stopped past its lease (a machine that hangs, a virtual machine that is moved), then goes on as if nothing were."""

from __future__ import annotations

import os
import random
import signal
import time

from faults.bench import Bench
from faults.drill import Drill
from faults.drills.places import two_workers

STEPS = 60


def trial(place: Bench, dice: random.Random, number: int) -> None:
    place.keep_working()
    place.ready()
    with_trainer = bool(number % 2)
    job_id = place.submit(steps=STEPS, step_seconds=0.03, alone=False)
    place.until(lambda: place.step(job_id) >= 1, "the first step")
    time.sleep(dice.uniform(0, 1.5))
    worker, (trainer,) = place.runner(job_id), place.trainers(job_id)
    os.kill(worker.pid or 0, signal.SIGSTOP)
    if with_trainer:
        os.killpg(trainer, signal.SIGSTOP)
    try:
        # Stopped within a transaction, it keeps SQLite's lock and nobody can take over: then it goes on unharmed.
        deadline = time.monotonic() + 12
        while not _taken_over(place, job_id) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(dice.uniform(0, 3))  # the second attempt is at its beginning, or has ended
    finally:
        os.killpg(trainer, signal.SIGCONT) if with_trainer else None
        os.kill(worker.pid or 0, signal.SIGCONT)
    place.assert_once(job_id, STEPS)
    place.until(lambda: trainer not in place.trainers(job_id), "the end of the first trainer", 10)
    time.sleep(0.5)  # for a late write
    history = place.events(job_id)
    second = [event.id for event in history if event.type == "running"][1:]
    if second:
        late = [event.type for event in history if event.id > second[0] and event.data["attempt"] == 1]
        assert not late, f"attempt 1 wrote {late} after it was taken over"
        place.until(lambda: "may no longer write" in worker.log.read_text(), "the refusal in the log", 20)
        assert (
            len([each for each in place.artifacts.encoders.iterdir() if place.repository.get(job_id).encoder_id in each.name])
            == 1
        )


def _taken_over(place: Bench, job_id: str) -> bool:
    """Asked of the events, whose reading waits for nobody."""
    return len(place.events(job_id, "running")) > 1


DRILL = Drill(
    "runner_frozen",
    "worker (with its trainer, every other time) stopped past its lease, then continued",
    "another takes over; every late write is refused; one encoder",
    two_workers,
    trial,
    quick=2,
)
