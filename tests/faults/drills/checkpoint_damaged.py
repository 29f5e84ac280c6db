"""The newest checkpoint of a paused job is truncated, emptied, flipped in one bit, or loses its checksum."""

from __future__ import annotations

import random

from faults.drill import Drill
from faults.drills.real import Real, real
from support.journeys import assert_same_weights, spec

HOW = ("bit flipped", "truncated", "empty", "no checksum", "another's checksum")


def trial(place: Real, dice: random.Random, number: int) -> None:
    service = place.service
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    service.client.pause(job_id)
    service.until(lambda: service.job(job_id).status == "paused", "the job is paused")
    folder = service.attempt(job_id) / "checkpoints"
    older, newest = sorted(folder.glob("step-*.ckpt"))
    checksum = newest.with_name(newest.name + ".sha256")
    how, content = HOW[number % len(HOW)], bytearray(newest.read_bytes())
    if how == "bit flipped":
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        newest.write_bytes(content)
    elif how == "truncated":
        newest.write_bytes(content[: dice.randrange(1, len(content))])
    elif how == "empty":
        newest.write_bytes(b"")
    elif how == "no checksum":
        checksum.unlink()
    else:
        checksum.write_text(older.with_name(older.name + ".sha256").read_text().replace(older.name, newest.name))
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
    real,
    trial,
)
