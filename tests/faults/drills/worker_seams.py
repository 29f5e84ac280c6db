"""The worker kills itself before or after each fsync, rename, link, unlink and commit of a job's life, each in its turn."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

from faults.bench import Bench, bench
from faults.drill import Drill
from faults.seams import Seams

STEPS = 6


@contextlib.contextmanager
def with_seams(folder: Path) -> Iterator[tuple[Bench, Seams]]:
    with bench(folder, workers=0) as made:
        seams = Seams(folder / "site")
        made.start_worker(seams.folder)
        made.ready()
        seams.record(lambda: made.assert_once(made.submit(steps=STEPS), STEPS))
        assert any("commit in jobs.lifecycle.succeed" in name for name in seams.names), seams.names
        assert any("rename in jobs.artifacts._publish" in name for name in seams.names), seams.names
        yield made, seams


def trial(place: tuple[Bench, Seams], dice: random.Random, number: int) -> None:
    made, seams = place
    for attempt in range(10):
        if one_death(made, seams, seams.names[(number + attempt) % len(seams.names)]):
            return
    raise AssertionError("nobody died")


def one_death(made: Bench, seams: Seams, name: str) -> bool:
    """Whether the seam was passed: how often a job is reported on, for one, differs a little."""
    seams.arm(name)
    try:
        job_id = made.submit(steps=STEPS)
        deadline = time.monotonic() + 60
        while made.repository.get(job_id).status != "succeeded" and time.monotonic() < deadline:
            made.keep_working()
            time.sleep(0.05)
        made.assert_once(job_id, STEPS)
        made.keep_working()
    finally:
        fired = seams.disarm()
    return fired


DRILL = Drill(
    "worker_seams",
    "worker kills itself before or after each fsync, rename, unlink, commit",
    "succeeds; one encoder, whole",
    with_seams,
    trial,
    quick=5,
)
