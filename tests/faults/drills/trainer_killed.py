"""SIGKILL of the trainer at any moment of its life: while it imports, trains, writes, or exports."""

from __future__ import annotations

import contextlib
import random
import time

from faults.drill import Drill
from faults.drills.real import Real, brief, real
from support.journeys import assert_same_weights


def trial(place: Real, dice: random.Random, number: int) -> None:
    service = place.service
    job_id = service.client.submit(**brief()).id
    service.until(lambda: service.trainers(job_id), "the trainer runs")
    time.sleep(dice.uniform(0, 0.95 * place.seconds))
    with contextlib.suppress(ValueError, ProcessLookupError):  # it has ended before: nothing was disturbed
        service.kill_trainer(job_id)
    job = service.succeeded(job_id)
    assert job.attempt <= 2 and job.error is None
    assert_same_weights(service, job, place.undisturbed)
    written = [event["step"] for event in service.said(job_id, 1, "checkpoint")]
    if job.attempt == 2 and written:
        (resumed,) = service.history(job_id, "resumed")
        assert resumed.data["step"] >= written[-1], "more than one interval was done again"
        steps = [event["step"] for event in service.said(job_id, 2, "metrics")]
        assert not steps or min(steps) > resumed.data["step"]


DRILL = Drill(
    "trainer_killed",
    "SIGKILL of the trainer at a random moment",
    "succeeds; goes on from its newest checkpoint; one encoder; weights bit-equal to an undisturbed run's",
    real,
    trial,
)
