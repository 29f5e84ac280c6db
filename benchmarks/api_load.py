"""The API under load: jobs submitted, looked at and listed, with 10,000 in the queue and with 100,000 finished ones.

    python benchmarks/api_load.py [--queued 10000] [--finished 100000] [--clients 16] [--seconds 10] [--only sqlite]

Real processes: `python -m api`, a broker, SQLite or PostgreSQL (durable: fsync on), and clients of raw sockets in a process of
their own, so that the clients are not what is measured. No worker runs: the queue stays full, and a sweep is timed alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from api_client import Seen, put_requests  # noqa: E402

from imprint.child import die_with_parent  # noqa: E402
from support.composed import free_port  # noqa: E402
from support.servers import Cluster, postgres_binaries, valkey  # noqa: E402

GOALS = {"POST /jobs": 300, "GET /jobs/<id>": 1000}  # a second
BODY = b'{"data": {"source": "digits"}, "preset": "simclr", "labels": {"team": "a"}}'
POINTS = 10  # metrics of a finished job
Row = tuple[str, str, Seen]


class Durable(Cluster):
    """PostgreSQL as it is used: every commit on the disk."""

    def start(self) -> None:
        self.settings = [each for each in self.settings if not each.startswith(("fsync", "full_page_writes"))]
        super().start()


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Its URL, for a server or a file of its own."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/imprint.db"
        return
    postgres_binaries()
    server = Durable(folder)
    try:
        server.initialise()
        server.start()
        yield server.url
    finally:
        import signal

        server.stop(signal.SIGINT)
        subprocess.run(["rm", "-rf", str(server.base)], check=False)


@contextlib.contextmanager
def api(folder: Path, url: str, broker: str) -> Iterator[int]:
    """The port of a running service."""
    port = free_port()
    settings = {
        "IMPRINT_HOME": str(folder),
        "IMPRINT_PORT": str(port),
        "IMPRINT_DATABASE_URL": url,
        "IMPRINT_REDIS_URL": broker,
        "IMPRINT_MAX_QUEUED": "1000000",
        "IMPRINT_LOG_FORMAT": "json",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "api"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),
        )
        try:
            put_requests(port, [("GET", "/livez", b"")], clients=1, seconds=0.5, wait=60)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def finish(url: str, count: int) -> list[str]:
    """`count` finished jobs with an encoder's worth of metrics each, written in bulk; ids, the oldest first."""
    from sqlalchemy import insert

    from jobs.database import connect
    from jobs.ids import new_id
    from jobs.models import Event, Job, Metric
    from ssl_core.spec import DigitsData, TrainSpec

    spec = TrainSpec(data=DigitsData()).model_dump(mode="json")
    latest = {f"metric_{number}": 0.5 for number in range(POINTS)}
    ids = sorted(new_id("job") for _ in range(count))
    found = connect(url)
    common: dict[str, Any] = {
        "kind": "pretrain", "method": "simclr", "status": "succeeded", "attempt": 1, "failures": 0, "claimed_step": 0,
        "checkpoint_step": 100, "created_ms": 1, "started_ms": 2, "finished_ms": 3, "woken_ms": 1, "metrics": latest,
        "labels": {"team": "a"}, "notes": [], "spec": spec, "owner": "", "shared": False,
        "progress": {"epoch": 5, "step": 100, "steps_total": 100, "fraction": 1.0},
    }  # fmt: skip
    for begin in range(0, count, 2000):
        part = ids[begin : begin + 2000]
        points = [
            {"job_id": job, "name": name, "step": 100, "epoch": 5, "value": 0.5, "at_ms": 3} for job in part for name in latest
        ]
        with found.write() as session:
            session.execute(insert(Job.__table__), [{"id": job, **common} for job in part])  # type: ignore[arg-type]
            session.execute(insert(Metric.__table__), points)  # type: ignore[arg-type]
            events = [{"job_id": job, "at_ms": 3, "type": "succeeded", "data": {"by": "bench"}} for job in part]
            session.execute(insert(Event.__table__), events)  # type: ignore[arg-type]
    if found.engine.dialect.name == "postgresql":
        with found.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    found.engine.dispose()
    return ids


def sweep(url: str, passes: int = 10) -> Seen:
    """What the database's part of a worker's sweep takes, while nothing is to be done."""
    from jobs.database import connect
    from jobs.repository import Repository

    repository, seconds = Repository(connect(url)), []
    for _ in range(passes):
        begun = time.perf_counter()
        repository.expire_leases(3)
        repository.stale_queued(3600)
        seconds.append(time.perf_counter() - begun)
    return Seen(passes / sum(seconds), seconds, {200: passes})


def pages(port: int, ids: list[str], clients: int, seconds: float) -> list[tuple[str, Seen]]:
    """The first and the last page of the list, and lists that are narrowed down, one request at a time for each client."""
    oldest = sorted(ids)[min(20, len(ids) - 1)]
    asked = {
        "GET /jobs (first page)": "/jobs",
        "GET /jobs (last page)": f"/jobs?after={oldest}",
        "GET /jobs?status=failed": "/jobs?status=failed",
        "GET /jobs?label.team=a": "/jobs?label.team=a",
    }
    return [(name, put_requests(port, [("GET", path, b"")], clients, seconds)) for name, path in asked.items()]


def measure(kind: str, options: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All rows of one database, one after the other."""
    seconds, clients = options.seconds, options.clients
    with database(kind, folder) as url, valkey(folder) as broker, api(folder, url, broker) as port:
        queue = f"{options.queued:,} queued"
        filled = put_requests(port, [("POST", "/jobs", BODY)], clients, count=options.queued)
        yield f"filling the queue to {options.queued:,}", "POST /jobs", filled
        yield queue, "POST /jobs", put_requests(port, [("POST", "/jobs", BODY)], clients, seconds)
        each = [("GET", f"/jobs/{job}", b"") for job in filled.ids[:500]]
        looked = put_requests(port, each, clients, seconds)
        yield queue, "GET /jobs/<id>", looked
        yield queue, "GET /jobs/<id>, at half that rate", put_requests(port, each, clients, seconds, rate=looked.rate / 2)
        for name, seen in pages(port, filled.ids, 2, seconds / 3):
            yield queue, name, seen
        yield queue, "a pass of the sweeper", sweep(url)
        if options.finished:
            ids = finish(url, options.finished)
            done = f"{options.finished:,} finished"
            each = [("GET", f"/jobs/{job}", b"") for job in ids[:: max(1, len(ids) // 2000)]]
            yield done, "GET /jobs/<id>", put_requests(port, each, clients, seconds)
            metrics = [("GET", path + "/metrics", b"") for _, path, _ in each]
            yield done, "GET /jobs/<id>/metrics", put_requests(port, metrics, 2, seconds / 3)
            for name, seen in pages(port, ids, 2, seconds / 3):
                yield done, name, seen
            yield done, "a pass of the sweeper", sweep(url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, default=10_000)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    print("| database | with | request | a second | p50 ms | p99 ms | not 2xx |\n|---|---|---|---|---|---|---|", flush=True)
    for kind in [options.only] if options.only else ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory() as folder:
            for there, name, seen in measure(kind, options, Path(folder)):
                numbers = f"{seen.rate:,.0f} | {seen.percentile(50):.1f} | {seen.percentile(99):.1f} | {seen.failed}"
                print(f"| {kind} | {there} | {name} | {numbers} |", flush=True)
                if name in GOALS and "queued" in there and seen.rate < GOALS[name]:
                    print(f"missed: {name} on {kind}: {seen.rate:.0f} a second, wanted {GOALS[name]}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
