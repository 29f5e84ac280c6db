"""A workplace for supervisors: a home, a database, and tests/worker/trainer.py in the place of the real trainer."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from jobs.artifacts import Artifacts
from jobs.records import JobDraft, JobRecord
from jobs.repository import Repository
from jobs.settings import Settings
from support.processes import eventually
from worker.supervisor import Supervisor

TRAINER = Path(__file__).resolve().parents[1] / "worker" / "trainer.py"
COMMAND = (sys.executable, "-I", str(TRAINER))


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

    def seize(self, job_id: str) -> bool:
        """Let the job's lease end in the database; not, if its supervisor renews it at this very moment."""
        with self.repository.database.write() as session:
            session.execute(text("UPDATE jobs SET lease_ms = 0 WHERE id = :id"), {"id": job_id})
        return self.repository.expire_leases(3) == [job_id]

    def facts(self, job_id: str, attempt: int = 1) -> dict[str, Any]:
        """What the trainer of an attempt wrote down about itself."""
        path = self.artifacts.attempt_folder(job_id, attempt) / "facts.json"
        eventually(path.exists, "the trainer's facts")
        facts: dict[str, Any] = eventually(lambda: json.loads(path.read_text() or "null"), "the trainer's facts")
        return facts

    def history(self, job_id: str) -> list[str]:
        return [event.type for event in self.repository.events(job_id, limit=1000).data]
