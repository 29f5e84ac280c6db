"""SIGKILL of the API while clients submit jobs, some with an Idempotency-Key that they send again until they have an answer."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx

from faults.bench import PATIENCE, Bench, bench
from faults.drill import Drill
from support.journeys import draw_pictures, spec

CLIENTS, JOBS = 3, 6


@contextlib.contextmanager
def only_an_api(folder: Path) -> Iterator[Bench]:
    draw_pictures(folder / "data")
    with bench(folder, workers=0, api=True, pictures=folder / "data") as made:
        yield made


def trial(place: Bench, dice: random.Random, number: int) -> None:
    accepted: list[tuple[str, str]] = []  # (name, id) of every 202
    keys: set[str] = set()
    given_up: list[str] = []
    names = [[str(UUID(int=dice.getrandbits(128))) for _ in range(JOBS)] for _ in range(CLIENTS)]

    def client(mine: list[str]) -> None:
        for index, name in enumerate(mine):
            headers = {"Idempotency-Key": name} if index % 2 else {}
            end = time.monotonic() + PATIENCE  # two starts of an API, on a busy machine
            while time.monotonic() < end:
                status = 0
                with contextlib.suppress(httpx.HTTPError):
                    answer = place.http.post("/jobs", json={**spec(), "name": name}, headers=headers)
                    status = answer.status_code
                    if status == 202:
                        accepted.append((name, answer.json()["id"]))
                if status == 202 or not headers:  # without a key nobody may send it twice
                    break
                time.sleep(0.05)
            else:
                given_up.append(name)
            keys.update(headers.values())

    threads = [threading.Thread(target=client, args=[mine]) for mine in names]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(dice.uniform(0, 0.4))
        place.api.kill()
        place.start_api()
    for thread in threads:
        thread.join(PATIENCE * JOBS)
        assert not thread.is_alive()
    assert not given_up, f"{given_up[0]} was never accepted"
    made = _jobs(place)
    for name, job_id in accepted:
        assert job_id in made.get(name, []), f"{job_id} was accepted and is not there"
    for key in keys:
        assert len(made.get(key, [])) == 1, f"{len(made.get(key, []))} jobs of one key"
        assert {job_id for name, job_id in accepted if name == key} == {*made[key]}
    for job_id in itertools.chain.from_iterable(made.get(name, []) for mine in names for name in mine):
        place.repository.request_cancel(job_id)  # nobody works here: after a thousand the queue would be full


def _jobs(place: Bench) -> dict[str, list[str]]:
    """The ids of all jobs, by their names."""
    made: dict[str, list[str]] = {}
    after = None
    while (page := place.repository.list(limit=100, after=after)).data:
        for job in page.data:
            made.setdefault(job.name or "", []).append(job.id)
        after = page.data[-1].id
    return made


DRILL = Drill(
    "api_killed",
    "SIGKILL of the API around POST /jobs",
    "every 202 is there; one job for each Idempotency-Key",
    only_an_api,
    trial,
)
