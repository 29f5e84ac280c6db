"""A workplace for supervisors: a home, an SQLite database, short times, and trainer.py in the place of the real trainer."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from jobs.artifacts import Artifacts
from jobs.database import connect, migrate
from jobs.errors import Fenced
from jobs.records import JobDraft, JobRecord
from jobs.repository import Repository
from jobs.settings import Settings
from worker.supervisor import Supervisor

TRAINER = Path(__file__).with_name("trainer.py")
COMMAND = (sys.executable, "-I", str(TRAINER))


def eventually(true: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """Wait until it is true, and return what it gave."""
    deadline = time.monotonic() + seconds
    while not (given := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return given


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Workplace:
    """Everything a supervisor needs, and what a test wants to see of it."""

    settings: Settings
    repository: Repository
    woken: list[str] = field(default_factory=list)

    @property
    def artifacts(self) -> Artifacts:
        return Artifacts(self.settings.home)

    def submit(self, **spec: Any) -> str:
        """The id of a queued job whose trainer behaves as the spec says."""
        return self.repository.create(JobDraft(name=None, kind="pretrain", method="simclr", spec=spec)).id

    def supervisor(self, shutdown: threading.Event | None = None, **changes: Any) -> Supervisor:
        settings = self.settings.model_copy(update=changes)
        return Supervisor(self.repository, settings, shutdown, self.woken.append)

    def run(self, job_id: str, **changes: Any) -> JobRecord:
        """Supervise until the trainer has ended."""
        self.supervisor(**changes).run(job_id)
        return self.repository.get(job_id)

    @contextlib.contextmanager
    def running(self, job_id: str, shutdown: threading.Event | None = None, **changes: Any) -> Iterator[threading.Thread]:
        """A supervisor in a thread, its trainer at its first step at least; waited for at the end."""
        thread = threading.Thread(target=self.supervisor(shutdown, **changes).run, args=[job_id], daemon=True)
        thread.start()
        eventually(lambda: (self.repository.get(job_id).progress or {}).get("step", 0) >= 1, "the first step")
        yield thread
        thread.join(20)
        assert not thread.is_alive(), "the supervisor did not come to an end"

    def facts(self, job_id: str, attempt: int = 1) -> dict[str, Any]:
        """What the trainer of an attempt wrote down about itself."""
        path = self.artifacts.attempt_folder(job_id, attempt) / "facts.json"
        eventually(path.exists, "the trainer's facts")
        facts: dict[str, Any] = eventually(lambda: json.loads(path.read_text() or "null"), "the trainer's facts")
        return facts

    def history(self, job_id: str) -> list[str]:
        return [event.type for event in self.repository.events(job_id, limit=1000).data]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    home = tmp_path / "home"
    settings = Settings(
        home=home,
        trainer_command=COMMAND,
        lease_seconds=5,
        heartbeat_seconds=0.5,
        poll_seconds=0.05,
        sweep_seconds=0.1,
        grace_seconds=5,
        cancel_grace_seconds=1,
        stall_seconds=30,
    )
    migrate(settings.database_url)
    database = connect(settings.database_url)
    yield Workplace(settings, Repository(database))
    database.engine.dispose()


__all__ = ["COMMAND", "Fenced", "Workplace", "alive", "eventually", "os"]
