"""Pauses and resumes in quick and random order, from two users at once."""

from __future__ import annotations

import contextlib
import random
import threading
import time

from faults.drill import Drill
from faults.drills.inside import assert_one_end, inside, runs_what_is_queued
from jobs.errors import Conflict
from support.processes import eventually
from support.workplace import Workplace

STEPS = 20


def trial(place: Workplace, dice: random.Random, number: int) -> None:
    job_id = place.submit(steps=STEPS, step_seconds=0.02)

    def user(waits: list[float], asks: list[str]) -> None:
        for wait, ask in zip(waits, asks, strict=True):
            time.sleep(wait)
            with contextlib.suppress(Conflict):  # it is in no state for that
                place.repository.request_pause(job_id) if ask == "pause" else place.repository.resume(job_id)

    def plan() -> tuple[list[float], list[str]]:
        return [dice.uniform(0, 0.2) for _ in range(8)], [dice.choice(["pause", "resume"]) for _ in range(8)]

    users = [threading.Thread(target=user, args=plan()) for _ in range(2)]
    with runs_what_is_queued(place, job_id):
        for each in users:
            each.start()
        for each in users:
            each.join(60)

        def over() -> bool:
            with contextlib.suppress(Conflict):
                place.repository.resume(job_id)
            return place.repository.get(job_id).status == "succeeded"

        eventually(over, "the end of the job", 60)
    assert assert_one_end(place, job_id, STEPS) == "succeeded"
    history = place.history(job_id)
    pauses, begun = history.count("paused"), history.count("running")
    assert begun == place.repository.get(job_id).attempt and pauses <= begun
    steps = [point.step for point in place.repository.metrics(job_id, name="train_loss").data]
    assert steps == [*range(1, STEPS + 1)], "a step is missing"


DRILL = Drill(
    "pause_resume", "pause against resume, two users", "ends once, in the asked state; no step is missing", inside, trial, 4
)
