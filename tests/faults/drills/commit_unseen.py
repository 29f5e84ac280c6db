"""The database commits, and the connection breaks before it can say so: at each commit of a job's life, each in its turn."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from faults.drill import Drill, Impossible
from faults.drills.inside import assert_one_end, inside
from faults.proxy import Proxy
from jobs.errors import Unavailable
from jobs.records import JobDraft
from support.servers import NoServer, cluster
from support.workplace import Workplace

STEPS = 5


@dataclass
class Cut:
    place: Workplace
    proxy: Proxy


@contextlib.contextmanager
def behind_a_proxy(folder: Path) -> Iterator[Cut]:
    try:
        with cluster(folder) as server, Proxy(folder / "p", server.base / ".s.PGSQL.5432") as proxy:
            url = f"postgresql://imprint@/imprint?host={quote(str(proxy.folder), safe='')}"
            with inside(folder, url) as place:
                yield Cut(place, proxy)
    except NoServer as reason:
        raise Impossible(str(reason)) from None


def trial(cut: Cut, dice: random.Random, number: int) -> None:
    place, proxy = cut.place, cut.proxy
    which = 1 + number % 8
    proxy.cut_after_commit(which)
    draft = JobDraft(
        None, "pretrain", "simclr", {"steps": STEPS}, idempotency_key=f"key-{dice.getrandbits(64)}", request_hash="h"
    )
    made = []
    for _ in range(3):  # a client that is told 503 sends the same again
        with contextlib.suppress(Unavailable):
            made.append((place.repository.find_by_key(draft.idempotency_key or "", "h") or place.repository.create(draft)).id)
            break
    (job_id,) = made
    deadline = time.monotonic() + 60
    while _status(place, job_id) != "succeeded" and time.monotonic() < deadline:
        _run(place, job_id)
        with contextlib.suppress(Unavailable):
            place.repository.expire_leases(3)
    cuts = proxy.cuts
    proxy.cut_after_commit(0)
    assert assert_one_end(place, job_id, STEPS) == "succeeded"
    assert len({job.id for job in place.repository.list(limit=100).data if job.spec == draft.spec and job.id == job_id}) == 1
    steps = [point.step for point in place.repository.metrics(job_id, name="train_loss").data]
    assert steps == [*range(1, STEPS + 1)]
    assert cuts == 1 or which > 4


def _run(place: Workplace, job_id: str) -> None:
    with contextlib.suppress(Unavailable):
        place.run(job_id)
    time.sleep(0.02)


def _status(place: Workplace, job_id: str) -> str:
    with contextlib.suppress(Unavailable):
        return place.repository.get(job_id).status
    return "unknown"


DRILL = Drill(
    "commit_unseen",
    "PostgreSQL commits, and the connection breaks before the answer; at each commit of a job's life",
    "the same key gives the same job; one end, one encoder, every step",
    behind_a_proxy,
    trial,
    quick=8,
)
