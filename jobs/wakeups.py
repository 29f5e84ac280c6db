"""Wake-ups that nobody waits for: a thread sends them, in order, over one connection that it keeps.

A connection for each costs ten times as much as the message. What cannot be sent is dropped: the sweep of a worker finds the job.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Any

from kombu.exceptions import OperationalError as BrokerError

from jobs.queue import broker_alive, connection, send

log = logging.getLogger("jobs")
MOST = 100_000  # that wait to be sent
ASK_AGAIN = 1.0  # seconds for which a broker that did not answer is not asked again


class Wakeups:
    """`wakeups(job_id)` returns at once. Safe from any thread."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[str | None] = queue.Queue(MOST)
        self._thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
        self._begun = threading.Lock()
        self._away_at = float("-inf")

    def __call__(self, job_id: str) -> None:
        """Wake a worker for this job, soon."""
        with self._begun:
            if self._thread.ident is None:
                self._thread.start()
        try:
            self._waiting.put_nowait(job_id)
        except queue.Full:
            log.warning("%s: too many wake-ups wait for the broker; a worker's sweep will find the job", job_id)

    def close(self, seconds: float = 5.0) -> None:
        """Send what waits, for at most so long, and end."""
        if self._thread.ident is None:
            return
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        kept: Any = None
        while (job_id := self._waiting.get()) is not None:
            try:
                kept = self._sent(kept, job_id)
            except Exception:  # whatever it is, the next one is sent by a new connection
                log.exception("%s: no wake-up sent", job_id)
                kept = None
        if kept is not None:
            kept.close()

    def _sent(self, kept: Any, job_id: str) -> Any:
        """Send one; returns the connection to go on with. A kept one may have died meanwhile: then by a new one."""
        why: object = "the broker does not answer"
        for open_connection in (kept, None):
            if open_connection is None and not self._alive():
                break
            try:
                open_connection = open_connection or connection()
                send(job_id, open_connection)
                return open_connection
            except (BrokerError, OSError) as error:
                why = error
        log.warning("%s: no wake-up sent (%s); a worker's sweep will find the job", job_id, why)
        return None

    def _alive(self) -> bool:
        if time.monotonic() - self._away_at < ASK_AGAIN:
            return False
        alive = broker_alive()
        self._away_at = float("-inf") if alive else time.monotonic()
        return alive
