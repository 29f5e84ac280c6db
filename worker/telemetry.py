"""What a worker counts, for Prometheus; served on IMPRINT_WORKER_METRICS where that is set, counted in any case."""

from __future__ import annotations

import logging
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

log = logging.getLogger("worker")

_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RUN_SECONDS = (1, 10, 60, 300, 1800, 7200, 28800, 86400, 259200)


class Telemetry:
    """Numbers of one worker since its start. Safe to use from any thread."""

    def __init__(self) -> None:
        self.registry = kept = CollectorRegistry()
        self._runs = Counter("imprint_worker_runs", "Attempts that ended, by how.", ("kind", "end"), registry=kept)
        self._seconds = Histogram("imprint_worker_run_seconds", "Seconds of an attempt.", registry=kept, buckets=_RUN_SECONDS)
        self._running = Gauge("imprint_worker_running", "Attempts under way.", registry=kept)
        self._slots = Gauge("imprint_worker_slots", "Jobs that it can run at a time.", registry=kept)
        self._sweeps = Counter("imprint_worker_sweeps", "Sweeps, by outcome: ok, failed.", ("outcome",), registry=kept)
        self._expired = Counter("imprint_worker_leases_expired", "Jobs queued again: their lease ran out.", registry=kept)
        self._woken = Counter("imprint_worker_wakeups_sent_again", "Wake-ups for jobs that no worker took.", registry=kept)
        self._deliveries = Counter("imprint_worker_deliveries", "Attempts at webhooks.", ("outcome",), registry=kept)
        self._answers = Histogram(
            "imprint_worker_delivery_seconds", "Seconds until a webhook's answer.", registry=kept, buckets=_SECONDS
        )
        self._points = Counter("imprint_worker_tracked_points", "Values written to trackers.", ("tracker",), registry=kept)
        self._untold = Counter("imprint_worker_tracking_failures", "Failed writes to trackers.", ("tracker",), registry=kept)
        self._server: WSGIServer | None = None

    def began(self) -> None:
        self._running.inc()

    def ended(self, kind: str, end: str, seconds: float) -> None:
        """An attempt is over. end: what became of the job, or fenced, error."""
        self._running.dec()
        self._runs.labels(kind=kind, end=end).inc()
        self._seconds.observe(seconds)

    def swept(self, outcome: str, expired: int = 0, woken: int = 0) -> None:
        self._sweeps.labels(outcome=outcome).inc()
        self._expired.inc(expired)
        self._woken.inc(woken)

    def delivered(self, outcome: str, seconds: float) -> None:
        self._deliveries.labels(outcome=outcome).inc()
        self._answers.observe(seconds)

    def tracked(self, tracker: str, points: int) -> None:
        self._points.labels(tracker=tracker).inc(points)

    def untold(self, tracker: str) -> None:
        self._untold.labels(tracker=tracker).inc()

    def serve(self, address: str, slots: int) -> None:
        """Answer GET /metrics at host:port. A port in use is a warning: jobs matter more."""
        self._slots.set(slots)
        if not address:
            return
        host, _, port = address.rpartition(":")
        try:
            self._server, _ = start_http_server(int(port), host.strip("[]"), registry=self.registry)
            log.info("metrics on %s", address)
        except OSError as error:
            log.warning("IMPRINT_WORKER_METRICS = %r: %s", address, error)

    @property
    def port(self) -> int | None:
        """Where it listens."""
        return None if self._server is None else self._server.server_port

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
