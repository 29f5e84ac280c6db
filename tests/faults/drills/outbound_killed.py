"""Workers are killed while they send messages to webhooks and tell TensorBoard of jobs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from faults.bench import Bench, bench
from faults.drill import Drill
from jobs import queue
from jobs.outbox import TYPES
from jobs.records import JobDraft
from jobs.trackings import Trackings
from jobs.webhooks import Webhooks
from support.receivers import Receiver, receiver

STEPS = 40


@contextlib.contextmanager
def place(folder: Path) -> Iterator[tuple[Bench, Receiver, str]]:
    with receiver(seconds=0.1) as there, bench(folder, workers=2, outbound_private="127.0.0.0/8") as made:
        _, hook = Webhooks(made.repository.database).create(there.url, TYPES)
        yield made, there, hook.id


def trial(where: tuple[Bench, Receiver, str], dice: random.Random, number: int) -> None:
    made, there, hook = where
    made.keep_working()
    made.ready()
    spec = {"steps": STEPS, "step_seconds": 0.05}
    job_id = made.repository.create(JobDraft(None, "pretrain", "simclr", spec, tracking={"tensorboard": {}})).id
    queue.enqueue(job_id)
    made.until(lambda: made.step(job_id) >= 1, "the first step")
    for _ in range(1 + number % 3):
        time.sleep(dice.uniform(0, 1.5))
        os.kill(dice.choice(made.workers).pid or 0, signal.SIGKILL)
        time.sleep(0.2)
        made.keep_working()
    made.assert_once(job_id, STEPS)
    with made.repository.database.write() as session:  # what the dead held: no need to wait for a minute or two
        for table in ("webhooks", "trackings"):
            session.execute(text(f"UPDATE {table} SET lease_ms = 0"))
        session.execute(text("UPDATE deliveries SET due_ms = 0"))
        session.execute(text("UPDATE trackings SET due_ms = 0"))
    hooks, trackings = Webhooks(made.repository.database), Trackings(made.repository.database)
    made.until(lambda: all(each.status == "delivered" for each in hooks.deliveries(hook, limit=200).data), "all is delivered")
    made.until(lambda: all(each.settled for each in trackings.of(job_id)), "TensorBoard knows it all")

    sent = {each.id: each.type for each in hooks.deliveries(hook, limit=200).data if each.job == job_id}
    came = {each.headers["webhook-id"]: each.json()["type"] for each in there.received if job_id in each.body.decode()}
    assert came == sent, f"in the outbox {sent}, received {came}"
    attempts = made.repository.get(job_id).attempt
    assert list(sent.values()).count("job.running") == attempts and list(sent.values()).count("job.succeeded") == 1
    assert _steps(made.home / "tensorboard" / job_id) == list(range(1, STEPS + 1))


def _steps(folder: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return [each.step for each in found.Scalars("train_loss")]


DRILL = Drill(
    "outbound_killed",
    "workers killed while they send messages to webhooks and tell TensorBoard of a job",
    "every message of the outbox arrives, and no other; TensorBoard has every step once",
    place,
    trial,
)
