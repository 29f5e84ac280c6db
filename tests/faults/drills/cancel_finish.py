"""A cancel arrives at any moment around a job's end."""

from __future__ import annotations

import random
import time

from faults.bench import trainers
from faults.drill import Drill
from faults.drills.inside import assert_one_end, inside, runs_what_is_queued
from jobs.errors import Conflict
from support.processes import eventually
from support.workplace import Workplace


def trial(place: Workplace, dice: random.Random, number: int) -> None:
    job_id = place.submit(steps=5, step_seconds=0.02)
    refused = False
    with runs_what_is_queued(place, job_id):
        if number % 8:  # or before it has begun
            eventually(lambda: (place.repository.get(job_id).progress or {}).get("step", 0) >= number % 6, "the step", 60)
        time.sleep(dice.uniform(0, 0.12))
        try:
            place.repository.request_cancel(job_id)
        except Conflict:
            refused = True
        eventually(lambda: place.repository.get(job_id).status in ("succeeded", "cancelled"), "an end", 60)
    status = assert_one_end(place, job_id, 5)
    assert status == "succeeded" if refused else status in ("succeeded", "cancelled")
    assert trainers(place.artifacts.job_folder(job_id)) == []


DRILL = Drill(
    "cancel_finish",
    "cancel against finish",
    "exactly one end, succeeded or cancelled, with what belongs to it",
    inside,
    trial,
    12,
)
