"""Tells TensorBoard and MLflow of jobs that ask for it, from what the database holds: a tracker that is away slows no job.

Every worker runs one. A job's tracker is told by one worker at a time, which keeps it open between two rounds; should that worker
die, another goes on from what the tracker itself knows.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Sequence
from typing import Protocol

from jobs.addresses import EVERYWHERE, networks
from jobs.records import JobRecord, Point
from jobs.repository import Repository
from jobs.settings import Settings
from jobs.trackings import Telling, Trackings
from worker import mlflow
from worker.mlflow import MLflow, Server
from worker.outbound import Unsent
from worker.rounds import Rounds
from worker.telemetry import Telemetry
from worker.tensorboard import TensorBoard

log = logging.getLogger("worker")

LEASE = 120.0  # seconds
AGAIN, QUEUED_AGAIN = 5.0, 15.0  # seconds between two rounds of a job that runs, or waits
SLOTS = 4
POINTS = 5_000  # read at once
MOST = 10  # such portions in a round, so that it ends within the lease
EXPERIMENT = "imprint"


class Sink(Protocol):
    """A tracker's place for one job."""

    run: str
    link: str | None
    cursor: dict[str, int]  # the last step that it knows, of each metric

    def write(self, points: Sequence[Point]) -> None: ...
    def tell(self, job: JobRecord, address: str) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Trackers:
    """One round at a time of each tracker of each job."""

    def __init__(self, repository: Repository, settings: Settings, telemetry: Telemetry) -> None:
        self.repository, self.settings, self.telemetry = repository, settings, telemetry
        self.trackings = Trackings(repository.database)
        self.holder = f"{os.getpid()}.{secrets.token_hex(8)}"
        self._open: dict[tuple[str, str], Sink] = {}
        self._lock = threading.Lock()  # of `_open`; a job's sink is used by one round at a time
        self._closed = False

    def rounds(self, every: float = 1.0) -> Rounds[Telling]:
        """What looks for trackers that are due and tells them."""
        return Rounds("trackers", lambda: self.trackings.claim(self.holder, LEASE), self.round, slots=SLOTS, every=every)

    def close(self) -> None:
        """Let go of what is open; a round under way does so at its end."""
        with self._lock:
            self._closed = True
            for sink in self._open.values():
                sink.abandon()
            self._open.clear()

    def round(self, telling: Telling) -> None:
        """Tell a tracker all that is new of a job."""
        key = (telling.job_id, telling.tracker)
        with self._lock:
            sink = self._open.pop(key, None)
        if sink is not None and not telling.kept:
            sink.abandon()  # someone else has told it meanwhile: it knows more than we think
            sink = None
        try:
            # The job first: what was measured until it came to rest is then never missed.
            job = self.repository.get(telling.job_id)
            sink = sink or self._opened(telling, job)
            whole = self._write(sink, telling)
            sink.tell(job, self._address(job))
            resting = job.status not in ("queued", "running") and whole
            if resting:
                sink.close()
            pause = 0.0 if not whole else QUEUED_AGAIN if job.status == "queued" else AGAIN
            self.trackings.told(telling, job, run=sink.run, link=sink.link, again_seconds=pause, settled=resting)
            if not resting:
                self._keep(key, sink)
        except (Unsent, mlflow.Refused, OSError) as error:
            if sink is not None:
                sink.abandon()
            self.telemetry.untold(telling.tracker)
            log.warning("%s of %s: %s", telling.tracker, telling.job_id, error)
            if self.trackings.failed(telling, str(error)):
                log.error("%s of %s is given up", telling.tracker, telling.job_id)

    def _keep(self, key: tuple[str, str], sink: Sink) -> None:
        with self._lock:
            if self._closed:
                sink.abandon()
            else:
                self._open[key] = sink

    def _write(self, sink: Sink, telling: Telling) -> bool:
        """Whether nothing is left."""
        for _ in range(MOST):
            points = self.trackings.values(telling.job_id, sink.cursor, POINTS)
            if not points:
                return True
            sink.write(points)
            for point in points:
                sink.cursor[point.name] = point.step  # they rise
            self.telemetry.tracked(telling.tracker, len(points))
        return False

    def _opened(self, telling: Telling, job: JobRecord) -> Sink:
        asked = (job.tracking or {})[telling.tracker]
        if telling.tracker == "tensorboard":
            return TensorBoard(self.settings.home / "tensorboard" / job.id, job)
        own = self.settings.mlflow_uri
        uri = asked.get("uri") or own
        if not uri:
            raise Unsent("IMPRINT_MLFLOW_URI is not set any more")
        # Our own server is where the operator says, with the operator's credentials; those never go to a server of a user's.
        if uri == own:
            server = Server(uri, EVERYWHERE, mlflow.credentials(os.environ))
        else:
            server = Server(uri, networks(self.settings.outbound_private))
        return MLflow(server, asked.get("experiment") or EXPERIMENT, job, telling.run)

    def _address(self, job: JobRecord) -> str:
        return f"{self.settings.public_url.rstrip('/')}/jobs/{job.id}"
