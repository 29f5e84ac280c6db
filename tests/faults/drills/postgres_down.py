"""PostgreSQL stops at once, as in a crash, and comes back after a while; jobs are submitted all the time."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time

import httpx

from faults.bench import LEASE, Bench
from faults.drill import Drill
from faults.drills.places import on_postgres
from jobs.errors import Unavailable
from support.journeys import spec

DOWN = (0, 5, 20, 60)  # seconds


def trial(place: Bench, dice: random.Random, number: int) -> None:
    assert place.cluster is not None
    down = DOWN[number % len(DOWN)]
    accepted: list[str] = []
    wrong: list[str] = []
    refused = 0
    end = threading.Event()

    def client() -> None:
        nonlocal refused
        while not end.wait(0.4):
            with contextlib.suppress(httpx.TransportError):
                answer = place.http.post("/jobs", json=spec())
                if answer.status_code == 202:
                    accepted.append(answer.json()["id"])
                elif answer.status_code == 503 and answer.headers.get("Retry-After"):
                    refused += 1
                else:
                    wrong.append(f"{answer.status_code} {answer.text[:200]}")

    long = place.submit(steps=150, step_seconds=0.03)
    place.until(lambda: place.step(long) >= 1, "the first step")
    thread = threading.Thread(target=client)
    thread.start()
    try:
        time.sleep(dice.uniform(0, 1))
        (trainer,) = place.trainers(long)
        stopped = time.monotonic()
        place.cluster.stop(signal.SIGQUIT)
        if down:
            time.sleep(min(down, LEASE + 1.5))
            assert trainer not in place.trainers(), "it lost its lease, and trains on"
            time.sleep(max(0.0, down - (time.monotonic() - stopped)))
        place.cluster.start()
        place.until(lambda: _there(place), "the database answers")
        time.sleep(1)
    finally:
        end.set()
        thread.join(60)
    assert not wrong, wrong[0]
    assert refused or not down, "nobody was told"
    place.assert_once(long, 150)
    for job_id in accepted:
        place.assert_once(job_id, 5)
    assert place.api.running and all(worker.running for worker in place.workers)


def _there(place: Bench) -> bool:
    with contextlib.suppress(Unavailable):
        return place.repository.ping()
    return False


DRILL = Drill(
    "postgres_down",
    "PostgreSQL stopped at once, down for 0, 5, 20, 60 s",
    "503 with Retry-After, every 202 is there and succeeds; who lost the lease stops",
    on_postgres,
    trial,
    quick=2,
)
