"""The whole service as processes of its own: a broker, `python -m api`, `python -m worker`, and the trainers that it starts.

Everything lies below one folder: the home, the pictures, the logs. Settings have the values of an installation but for two
that would only cost time: how often supervisors and sweepers look.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from imprint import Client
from imprint.child import Child
from imprint.records import Job
from support.processes import alive
from support.servers import valkey, valkey_socket

PATIENCE = 120.0  # seconds for anything that ends by itself: other work may keep the machine busy

Json = dict[str, Any]


class Service:
    """One home with what runs in it."""

    def __init__(self, folder: Path, pictures: Path, port: int) -> None:
        """pictures: the data root."""
        self.folder = folder
        self.home = folder / "home"
        self.address = f"http://127.0.0.1:{port}"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRINT_", "OMP_"))}
        self.env = {
            **inherited,
            "OMP_NUM_THREADS": "1",  # same sums in the same order, and no threads that wait for each other
            "IMPRINT_HOME": str(self.home),
            "IMPRINT_DATA_ROOT": str(pictures),
            "IMPRINT_REDIS_URL": f"redis+socket://{valkey_socket(folder)}",
            "IMPRINT_PORT": str(port),
            "IMPRINT_POLL_SECONDS": "0.1",
            "IMPRINT_SWEEP_SECONDS": "0.5",
        }
        self.patience = PATIENCE
        self.client = Client(self.address)
        self.http = httpx.Client(base_url=self.address, timeout=60, trust_env=False)
        self.api = Child("api", [sys.executable, "-P", "-m", "api"], self.env, folder / "api.log", 20)
        self.worker = self._worker({})
        self._broker: contextlib.ExitStack | None = None

    # Processes

    def start_broker(self) -> None:
        if self._broker is None:
            self._broker = contextlib.ExitStack()
            self._broker.enter_context(valkey(self.folder))

    def stop_broker(self) -> None:
        if self._broker is not None:
            self._broker.close()
            self._broker = None

    def start_api(self) -> None:
        self.api.start()
        self.until(lambda: self.http.get("/livez").status_code == 200, "the API answers", 60)

    def start_worker(self, **settings: Any) -> None:
        """A new worker that is ready; `settings` as in jobs.settings, for this one only."""
        assert not self.worker.running
        self.worker = self._worker(settings)
        begin = self.worker.log.stat().st_size if self.worker.log.exists() else 0
        self.worker.start()
        self.until(lambda: b"ready: 1 slot" in self.worker.log.read_bytes()[begin:], "the worker is ready", 60)

    def _worker(self, settings: Json) -> Child:
        changed = {f"IMPRINT_{name.upper()}": str(value) for name, value in settings.items()}
        return Child("worker", [sys.executable, "-P", "-m", "worker"], {**self.env, **changed}, self.folder / "worker.log", 40)

    def stop(self, process: Child) -> int | None:
        """SIGTERM, and its exit status once it has ended."""
        process.ask_to_stop()
        self.until(lambda: not process.running, f"the {process.name} ends", process.patience)
        return process.exit_code

    def close(self) -> list[int]:
        """End everything, politely or not; gives the trainers that had to be killed, of which there should be none."""
        self.client.close()
        self.http.close()
        for process in (self.worker, self.api):
            process.ask_to_stop()
            deadline = time.monotonic() + process.patience
            while process.running and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill()
        self.stop_broker()
        left = self.trainers()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return left

    def until(self, true: Callable[[], Any], what: str, seconds: float | None = None, every: float = 0.02) -> Any:
        """The first true answer; asks `every` so many seconds. A service that does not listen yet has not answered. Fails with
        the logs' ends."""
        seconds = self.patience if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError):
                if found := true():
                    return found
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.folder.glob("*.log")))
                pytest.fail(f"not within {seconds:g} s: {what}\n{logs}")
            time.sleep(every)

    # Jobs, seen from outside

    def job(self, job_id: str) -> Job:
        return self.client.job(job_id)

    def ended(self, job_id: str) -> Job:
        """The job once it is final."""
        found: Job = self.until(lambda: (job := self.job(job_id)).final and job, f"{job_id} ends", every=0.1)
        return found

    def succeeded(self, job_id: str) -> Job:
        job = self.ended(job_id)
        assert job.status == "succeeded", (job.status, job.error, self.client.logs(job_id, tail=20))
        return job

    def history(self, job_id: str, type_: str) -> list[Any]:
        """The job's events of a type, oldest first."""
        return [event for event in self.client.events(job_id) if event.type == type_]

    def rest(self) -> None:
        """Cancel what is queued or running, and wait until nothing trains."""
        unfinished = [job for job in self.client.jobs() if not job.final and job.status != "paused"]
        for job in unfinished:
            self.client.cancel(job.id)
        for job in unfinished:
            self.ended(job.id)

    # Jobs, seen from inside

    def attempt(self, job_id: str, attempt: int = 1) -> Path:
        return self.home / "jobs" / job_id / str(attempt)

    def said(self, job_id: str, attempt: int = 1, type_: str | None = None) -> list[Json]:
        """What a trainer wrote to its events.jsonl, whole lines."""
        try:
            text = (self.attempt(job_id, attempt) / "events.jsonl").read_text()
        except FileNotFoundError:
            return []
        events = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [event for event in events if type_ in (None, event["type"])]

    def published(self, encoder_id: str) -> list[Path]:
        """The folders that were published under this id, whole or not."""
        return sorted((self.home / "encoders").glob(f"*{encoder_id}*"))

    def trainers(self, job_id: str = "") -> list[int]:
        """Ids of the training processes of this home, or of one job, that live (Linux)."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                mine = any(word.startswith(f"{self.home}/jobs/{job_id}".encode()) for word in words)
                if mine and b"ssl_core" in words and alive(int(process.name)):
                    found.append(int(process.name))
        return found

    def trainer(self, job_id: str) -> int:
        """The id of the job's one training process."""
        (pid,) = self.trainers(job_id)
        return pid

    def kill_trainer(self, job_id: str) -> None:
        os.kill(self.trainer(job_id), signal.SIGKILL)

    def past_checkpoint(self, job_id: str, count: int = 2) -> Json:
        """Wait until its first attempt has written that many checkpoints and done a step after the last; gives that one."""

        def look() -> Json | None:
            checkpoints = self.said(job_id, type_="checkpoint")
            steps = [event["step"] for event in self.said(job_id, type_="metrics")]
            further = len(checkpoints) >= count and max(steps, default=0) > checkpoints[-1]["step"]
            assert not self.said(job_id, type_="finished"), "the run is too short for this test"
            return checkpoints[-1] if further else None

        found: Json = self.until(look, f"{job_id} goes on after checkpoint {count}")
        return found


def at(event: Json) -> datetime:
    """When a trainer said it."""
    return datetime.fromisoformat(event["at"])
