"""Trainers that cannot work: they die at once, by a segmentation fault, for lack of memory, or make no step; every time."""

from __future__ import annotations

import random
from typing import Any

from faults.bench import Bench
from faults.drill import Drill
from faults.drills.places import one_worker

HOW: dict[str, tuple[dict[str, Any], str, str]] = {  # how: (spec, code of the error, what it says)
    "at once": ({"crash": "at_once"}, "crashed", "status 1"),
    "segmentation fault": ({"crash": "segfault"}, "crashed", "SIGSEGV"),
    "out of memory": ({"crash": "memory"}, "crashed", "MemoryError"),
    "hangs": ({"hang_at": 1, "no_checkpoints": True}, "stalled", "no step"),
}


def trial(place: Bench, dice: random.Random, number: int) -> None:
    place.keep_working()
    (worker,) = place.workers
    before = worker.pid
    spec, code, words = list(HOW.values())[number % len(HOW)]
    job_id = place.submit(steps=5, **spec)
    after = place.submit(steps=5)
    job = place.ended(job_id)
    assert job.status == "failed" and job.attempt == 3, (job.status, job.attempt)
    assert job.error is not None and job.error["code"] == code, job.error
    assert words in job.error["message"] + job.error["hint"] and "3 times in a row without progress" in job.error["message"]
    place.assert_once(after, 5)
    assert worker.running and worker.pid == before, "the worker died with it"
    assert place.trainers(job_id) == []


DRILL = Drill(
    "trainer_crashes",
    "trainer dies at once, segfaults, runs out of memory (RLIMIT_AS), or hangs; every time",
    "3 attempts, then failed with the reason; the worker lives and does the next job",
    one_worker,
    trial,
    quick=4,
)
