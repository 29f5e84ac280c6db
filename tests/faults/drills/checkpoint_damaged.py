"""The newest checkpoint of a paused job is truncated, emptied, flipped in one bit, or loses its checksum."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from faults import replay
from faults.damage import damage
from faults.drill import Drill
from faults.drills.real import Real, brief, real
from support.journeys import assert_same_weights


@contextlib.contextmanager
def paused(folder: Path) -> Iterator[Real]:
    """Jobs whose first attempt is a recording of one that was paused: to train it anew would teach nothing and take long."""
    with real(folder) as place:
        service = place.service
        job_id = service.client.submit(**brief()).id
        service.past_checkpoint(job_id)
        service.client.pause(job_id)
        service.until(lambda: service.job(job_id).status == "paused", "the job is paused")
        shutil.copytree(service.attempt(job_id), folder / "recorded", ignore=shutil.ignore_patterns("log.txt"))
        service.stop(service.worker)
        service.start_worker(trainer_command=json.dumps([sys.executable, "-I", replay.__file__, str(folder / "recorded")]))
        yield place


def trial(place: Real, dice: random.Random, number: int) -> None:
    service = place.service
    job_id = service.client.submit(**brief()).id
    folder = service.attempt(job_id) / "checkpoints"
    service.until(lambda: service.job(job_id).progress.step, "the job gets on")
    service.client.pause(job_id)
    service.until(lambda: service.job(job_id).status == "paused", "the job is paused")
    older, newest = sorted(folder.glob("step-*.ckpt"))
    how = damage(older, newest, dice, number)
    service.client.resume(job_id)
    job = service.succeeded(job_id)
    (resumed,) = service.history(job_id, "resumed")
    assert resumed.data["step"] == int(older.stem.removeprefix("step-")), f"{how}: went on from step {resumed.data['step']}"
    assert job.attempt == 2
    assert_same_weights(service, job, place.undisturbed)


DRILL = Drill(
    "checkpoint_damaged",
    "newest checkpoint bit-flipped, truncated, emptied, without or with a wrong checksum",
    "falls back to the older one; weights bit-equal to an undisturbed run's",
    paused,
    trial,
)
