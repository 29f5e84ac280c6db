"""One worker's clock is an hour fast, the other's an hour slow; leases are measured by the database's alone."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from faults.bench import LEASE, SITE, Bench, bench
from faults.drill import Drill, Impossible
from support.servers import NoServer, cluster

STEPS = int(1.5 * LEASE / 0.05)


@contextlib.contextmanager
def wrong_clocks(folder: Path) -> Iterator[Bench]:
    try:
        with cluster(folder) as server, bench(folder, cluster=server, workers=0) as made:
            for name, seconds in (("fast", 3600), ("slow", -3600)):
                shutil.copytree(SITE, folder / name)
                (folder / name / "clock").write_text(str(seconds))
                made.start_worker(folder / name)
            made.ready()
            yield made
    except NoServer as reason:
        raise Impossible(str(reason)) from None


def trial(place: Bench, dice: random.Random, number: int) -> None:
    began = time.monotonic()
    jobs = [place.submit(steps=STEPS, step_seconds=0.05) for _ in range(2)]
    for job_id in jobs:
        job = place.assert_once(job_id, STEPS)
        assert job.attempt == 1, f"a lease was stolen: {[event.data for event in place.events(job_id, 'queued')]}"
        assert job.finished_at is not None and job.started_at is not None
        assert 0 < (job.finished_at - job.started_at).total_seconds() < time.monotonic() - began + 1
    assert {place.runner(job_id).name for job_id in jobs} == {"worker-0", "worker-1"}, "both have worked"


DRILL = Drill(
    "clock_wrong",
    "clocks of two workers an hour fast and an hour slow",
    "no lease ends early; one attempt each",
    wrong_clocks,
    trial,
)
