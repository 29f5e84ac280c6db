"""PostgreSQL neither answers nor refuses: its processes are stopped, as a dead network makes it look; later they go on."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from faults.bench import LEASE, Bench
from faults.drill import Drill
from faults.drills.places import on_postgres
from support.servers import Cluster

STEPS = 120


def trial(place: Bench, dice: random.Random, number: int) -> None:
    assert place.cluster is not None
    job_id = place.submit(steps=STEPS, step_seconds=0.03)
    place.until(lambda: place.step(job_id) >= 1, "the first step")
    time.sleep(dice.uniform(0, 1))
    (trainer,) = place.trainers(job_id)
    signal_all(place.cluster, signal.SIGSTOP)
    try:
        place.until(lambda: trainer not in place.trainers(), "the end of who may have lost the lease", LEASE + 1.5)
        time.sleep(dice.uniform(0, 2))
    finally:
        signal_all(place.cluster, signal.SIGCONT)
    place.assert_once(job_id, STEPS)
    assert all(worker.running for worker in place.workers)


def signal_all(cluster: Cluster, how: signal.Signals) -> None:
    """The server first, so that it starts no new process, then each of its processes."""
    for pid in [cluster.pid, *map(int, Path(f"/proc/{cluster.pid}/task/{cluster.pid}/children").read_text().split())]:
        os.kill(pid, how)


DRILL = Drill(
    "postgres_frozen",
    "PostgreSQL's processes stopped past a lease, then continued",
    "who may have lost the lease stops its trainer in time; the job goes on",
    on_postgres,
    trial,
)
