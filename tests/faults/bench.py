"""A service to be ill-treated: a broker, workers, perhaps an API and a PostgreSQL, all processes of their own, and a trainer that
learns nothing (tests/worker/trainer.py). Times are short: a lease is 3 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import redis

from imprint.child import Child
from jobs import queue
from jobs.artifacts import Artifacts
from jobs.database import connect, migrate
from jobs.ids import encoder_id
from jobs.records import EventRecord, JobDraft, JobRecord
from jobs.repository import Repository
from jobs.settings import get_settings
from support.composed import free_port
from support.servers import Cluster, valkey, valkey_socket
from support.workplace import COMMAND

LEASE = 3.0
PATIENCE = 90.0  # seconds for anything that ends by itself: other work may keep the machine busy
SITE = Path(__file__).resolve().parent / "site"


class Bench:
    """One home with what runs in it."""

    def __init__(self, folder: Path, cluster: Cluster | None = None, pictures: Path | None = None, **settings: Any) -> None:
        self.folder, self.home, self.cluster = folder, folder / "home", cluster
        self.home.mkdir()
        self.port = free_port()
        given = {
            "home": self.home,
            "data_root": pictures or folder,
            "database_url": cluster.url if cluster else f"sqlite:///{self.home}/imprint.db",
            "redis_url": f"redis+socket://{valkey_socket(folder)}",
            "port": self.port,
            "trainer_command": json.dumps(COMMAND),
            "lease_seconds": LEASE,
            "heartbeat_seconds": 0.5,
            "poll_seconds": 0.1,
            "sweep_seconds": 0.5,
            "grace_seconds": 5,
            "cancel_grace_seconds": 2,
            "stall_seconds": 4,
            **settings,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
        self.env = {**inherited, **{f"IMPRINT_{name.upper()}": str(value) for name, value in given.items()}}
        self.workers: list[Child] = []
        self.api = Child("api", [sys.executable, "-P", "-m", "api"], self.env, folder / "api.log", 20)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30, trust_env=False)
        self._broker = contextlib.ExitStack()
        self._were_ready: set[int | None] = set()
        migrate(given["database_url"])
        self.repository = Repository(connect(given["database_url"]))
        self.artifacts = Artifacts(self.home)

    # Processes

    def start_broker(self) -> None:
        self._broker.enter_context(valkey(self.folder))

    def stop_broker(self) -> None:
        """Forget a broker that was killed, or end one that was not."""
        self._broker.close()

    def broker_pid(self) -> int:
        with redis.Redis(unix_socket_path=str(valkey_socket(self.folder))) as client:
            return int(client.info("server")["process_id"])

    def start_worker(self, site: Path | None = None, **more: str) -> Child:
        """One more worker, which may not be ready yet. `site`: a folder whose sitecustomize.py its Pythons load."""
        env = {**self.env, **more}
        if site is not None:
            env["PYTHONPATH"] = f"{site}{os.pathsep}{env.get('PYTHONPATH', '')}"
        log = self.folder / f"worker-{len(self.workers)}.log"
        worker = Child(f"worker-{len(self.workers)}", [sys.executable, "-P", "-m", "worker"], env, log, 20)
        worker.start()
        self.workers.append(worker)
        return worker

    def ready(self, *workers: Child) -> None:
        """Wait until all, or these, are."""
        for worker in workers or self.workers:
            if worker.pid not in self._were_ready:  # later its log says so much that the word is far up
                self.until(lambda worker=worker: "ready: 1 slot" in worker.tail(1000), f"{worker.name} is ready")
                self._were_ready.add(worker.pid)

    def keep_working(self) -> None:
        """Start again what has ended, as any supervisor of services does."""
        for worker in self.workers:
            if not worker.running:
                worker.start()

    def start_api(self) -> None:
        self.api.start()
        self.until(self.answers, "the API answers")

    def answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return self.http.get("/livez").status_code == 200
        return False

    def close(self) -> None:
        """End everything; what was stopped goes on first."""
        for child in [*self.workers, self.api]:
            if child.running and child.pid is not None:
                os.killpg(child.pid, signal.SIGCONT)
            child.kill()
        for pid in self.trainers():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self._broker.close()
        self.http.close()
        self.repository.database.engine.dispose()

    def until(self, true: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
        """The first true answer. Fails with the logs' ends."""
        deadline = time.monotonic() + seconds
        while not (found := true()):
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted(self.folder.glob("*.log")))
                raise AssertionError(f"not within {seconds:g} s: {what}\n{logs}")
            time.sleep(0.03)
        return found

    # Jobs

    def submit(self, **spec: Any) -> str:
        """A queued job whose trainer behaves as the spec says, and a wake-up if the broker takes it."""
        job_id = self.repository.create(JobDraft(name=None, kind="pretrain", method="simclr", spec={"alone": True, **spec})).id
        queue.enqueue(job_id)
        return job_id

    def step(self, job_id: str) -> int:
        return int((self.repository.get(job_id).progress or {}).get("step", 0))

    def ended(self, job_id: str, seconds: float = PATIENCE) -> JobRecord:
        found: JobRecord = self.until(
            lambda: (job := self.repository.get(job_id)).status in ("succeeded", "failed", "cancelled") and job,
            f"{job_id} ends ({self.repository.get(job_id).status})",
            seconds,
        )
        return found

    def events(self, job_id: str, type_: str | None = None) -> list[EventRecord]:
        events = self.repository.events(job_id, limit=10_000).data
        return [event for event in events if type_ in (None, event.type)]

    def runner(self, job_id: str) -> Child:
        """The worker that has claimed the job."""
        name = self.events(job_id, "running")[-1].data["by"]
        return next(worker for worker in self.workers if str(worker.pid) == name.rpartition(":")[2])

    def trainers(self, job_id: str = "") -> list[int]:
        """Ids of the trainers of this home, or of one job, that have not ended."""
        return trainers(self.home / "jobs" / job_id if job_id else self.home / "jobs")

    def assert_once(self, job_id: str, steps: int) -> JobRecord:
        """It succeeded, once: one encoder, whole, of the last step; each attempt began once; never were two trainers at it."""
        job = self.ended(job_id)
        history = self.events(job_id)
        assert job.status == "succeeded", (job.status, job.error)
        assert [event.type for event in history].count("succeeded") == 1
        attempts = [event.data["attempt"] for event in history if event.type == "running"]
        assert attempts == [*range(1, job.attempt + 1)], f"attempts {attempts} of {job.attempt}"
        assert not (self.home / "jobs" / job_id / "not-alone").exists(), "two trainers ran at the same time"
        assert job.encoder_id == encoder_id(job_id)
        assert (job.requested, job.error) == (None, None)
        found = self.home / self.repository.encoder(job.encoder_id).folder
        assert (found / "model.safetensors").read_bytes() == b"weights after step %d" % steps
        assert (found / "manifest.json").is_file()
        return job


def trainers(below: Path) -> list[int]:
    """Ids of trainers whose command line names a spec below the folder; stopped ones too, dead ones not."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            mine = any(word.startswith(os.fsencode(below)) and word.endswith(b"/spec.json") for word in words)
            if mine and b"--parent-pipe" in words and state not in "ZX":
                found.append(int(process.name))
    return found


@contextlib.contextmanager
def bench(folder: Path, *, workers: int = 1, api: bool = False, broker: bool = True, **more: Any) -> Iterator[Bench]:
    """A bench that is up; this process sends wake-ups to its broker as the API does."""
    made = Bench(folder, **more)
    before = {name: value for name, value in os.environ.items() if name.startswith("IMPRINT_")}
    _become({name: value for name, value in made.env.items() if name.startswith("IMPRINT_")})
    try:
        if broker:
            made.start_broker()
        for _ in range(workers):
            made.start_worker()
        if api:
            made.start_api()
        made.ready()
        yield made
    finally:
        made.close()
        queue.celery_app().close()
        _become(before)


def _become(settings: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("IMPRINT_")]:
        del os.environ[name]
    os.environ.update(settings)
    get_settings.cache_clear()
    queue.celery_app.cache_clear()
