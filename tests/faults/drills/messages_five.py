"""Every wake-up is delivered five times, in any order, at any time."""

from __future__ import annotations

import random
import time

from faults.bench import Bench
from faults.drill import Drill
from faults.drills.places import two_workers
from jobs import queue


def trial(place: Bench, dice: random.Random, number: int) -> None:
    place.keep_working()
    place.ready()
    jobs = [place.submit(steps=8) for _ in range(4)]
    messages = jobs * 4  # one was sent at the submission
    dice.shuffle(messages)
    for job_id in messages:
        assert queue.enqueue(job_id)
        time.sleep(dice.uniform(0, 0.1))
    for job_id in jobs:
        job = place.assert_once(job_id, 8)
        assert job.attempt == 1 and len(place.events(job_id, "running")) == 1, "an extra run"
    place.until(lambda: queue.pending() == 0, "every message is received")
    assert [len(place.events(job_id, "running")) for job_id in jobs] == [1, 1, 1, 1]


DRILL = Drill("messages_five", "every message delivered five times", "no extra run; one encoder each", two_workers, trial)
