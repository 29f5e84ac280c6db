"""Looks for what fell between two stools: expired leases, wake-ups that got lost, folders without a row.

Every worker runs one; passes are idempotent, so any number of them may run at the same time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from kombu.exceptions import OperationalError as BrokerError

from jobs import logs, queue
from jobs.artifacts import Artifacts
from jobs.errors import JobsError
from jobs.repository import Repository
from jobs.settings import Settings
from jobs.uploads import Uploads
from jobs.webhooks import Webhooks
from worker.telemetry import Telemetry

log = logging.getLogger("worker")

_WAKE_AFTER = 2  # sweeps; a queued job waits that long before it is woken again
_CLEAN_EVERY = 600.0


class Sweeper:
    """One pass every few seconds until stopped."""

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        wake: Callable[[str], object],
        telemetry: Telemetry | None = None,
    ) -> None:
        """wake(job_id) sends a wake-up; called again and again for a job that nobody takes."""
        self.repository, self.settings, self.wake = repository, settings, wake
        self.telemetry = telemetry or Telemetry()
        self._stop = threading.Event()
        self._cleaned = 0.0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Sweep in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the pass under way."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def sweep(self) -> list[str]:
        """One pass; returns the jobs that were woken. Raises JobsError."""
        expired = self.repository.expire_leases(self.settings.max_attempts)
        for job_id in expired:
            log.warning("%s: its lease ran out; it is queued again", job_id, extra={"about": {"job": job_id}})
        overlooked = self._overlooked()
        woken = [*expired, *overlooked]
        for job_id in dict.fromkeys(woken):
            self.wake(job_id)
        if time.monotonic() - self._cleaned > _CLEAN_EVERY:
            self._cleaned = time.monotonic()
            recorded = self.repository.encoder_folders() | self.repository.result_folders()
            Artifacts(self.settings.home).remove_leftovers(recorded)
            Uploads(self.settings.datasets).remove_leftovers(self.repository.dataset_ids())
            Webhooks(self.repository.database).clean()
        self.telemetry.swept("ok", len(expired), len(overlooked))
        return woken

    def _overlooked(self) -> list[str]:
        patience = _WAKE_AFTER * self.settings.sweep_seconds
        return self.repository.stale_queued(patience) if self._queue_is_empty() else []

    @staticmethod
    def _queue_is_empty() -> bool:
        """While wake-ups wait, workers are busy: more of them would only pile up. A lost one is noticed once they are gone."""
        try:
            return queue.broker_alive() and queue.pending() == 0
        except (OSError, BrokerError):
            return False

    def _run(self) -> None:
        while not self._stop.wait(self.settings.sweep_seconds):
            try:
                with logs.bound(part="sweeper"):
                    self.sweep()
            except JobsError as error:
                self.telemetry.swept("failed")
                log.warning("sweep: %s", error, extra={"about": {"part": "sweeper"}})
            except Exception:
                self.telemetry.swept("failed")
                log.exception("sweep failed; the next one may not", extra={"about": {"part": "sweeper"}})
