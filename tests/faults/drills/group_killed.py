"""SIGKILL of a worker's whole process group: nobody is left to say so."""

from __future__ import annotations

import os
import random
import signal
import time

from faults.bench import LEASE, Bench
from faults.drill import Drill
from faults.drills.places import two_workers

ORPHAN = 2.0  # seconds that a trainer may outlive its worker


def trial(place: Bench, dice: random.Random, number: int) -> None:
    place.keep_working()
    place.ready()
    job_id = place.submit(steps=60, step_seconds=0.03, helper=True, no_pdeathsig=bool(number % 2))
    place.until(lambda: place.trainers(job_id), "the trainer runs")
    time.sleep(dice.uniform(0, 1.5))
    worker, orphans = place.runner(job_id), place.trainers(job_id)
    os.killpg(worker.pid or 0, signal.SIGKILL)
    killed = time.monotonic()
    place.until(lambda: not set(orphans) & set(place.trainers(job_id)), "the orphan's end", ORPHAN)
    # 45 s with a lease of 30 s: half a lease to notice, and here 3 s for a busy machine.
    place.until(
        lambda: place.repository.get(job_id).attempt == 2 or place.repository.get(job_id).status == "succeeded",
        "another worker takes it",
        1.5 * LEASE + 3 - (time.monotonic() - killed),
    )
    place.assert_once(job_id, 60)


DRILL = Drill(
    "group_killed",
    "SIGKILL of the worker's whole group",
    "no orphan after 2 s; another worker goes on within 1.5 leases; one encoder",
    two_workers,
    trial,
    quick=2,
)
