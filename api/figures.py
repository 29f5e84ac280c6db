"""The database's figures as Prometheus reads them, beside what the process itself has counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from jobs.figures import Figures

Family = CounterMetricFamily | GaugeMetricFamily | SummaryMetricFamily


class _Once(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Family]:
        return iter(self._families)


def render(figures: Figures) -> str:
    """The lines of the page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(_families(figures)))
    return generate_latest(registry).decode()


def _families(figures: Figures) -> Iterator[Family]:
    ended = CounterMetricFamily("imprint_jobs_finished", "Jobs that have ended, by kind and status.", labels=("kind", "status"))
    lasted = SummaryMetricFamily("imprint_job_seconds", "Seconds from a job's first start to its end.", labels=("kind", "status"))
    for (kind, status), (count, seconds) in figures.finished.items():
        ended.add_metric((kind, status), count)
        lasted.add_metric((kind, status), count, seconds)
    yield from (ended, lasted)
    attempts = CounterMetricFamily("imprint_job_attempts", "Attempts at jobs that were begun, by kind.", labels=("kind",))
    for kind, count in figures.attempts.items():
        attempts.add_metric((kind,), count)
    yield attempts
    yield _gauge("imprint_jobs", "Jobs by status.", "status", figures.jobs)
    yield GaugeMetricFamily(
        "imprint_queue_oldest_seconds", "Age of the oldest job that no worker has taken yet.", figures.oldest_queued
    )
    yield GaugeMetricFamily("imprint_leases_overdue", "Running jobs whose lease is over.", figures.overdue)
    yield _gauge("imprint_webhooks", "Webhooks by state.", "state", figures.webhooks)
    yield _gauge("imprint_webhook_messages", "Messages to webhooks of the last week, by status.", "status", figures.messages)
    yield GaugeMetricFamily("imprint_webhook_oldest_seconds", "Age of the oldest message that waits.", figures.oldest_message)
    yield _gauge("imprint_trackers_behind", "Trackers that do not know all of a job.", "tracker", figures.behind)
    yield _gauge("imprint_trackers_failing", "Those whose last attempt failed.", "tracker", figures.failing)


def _gauge(name: str, about: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, about, labels=(label,))
    for value, count in values.items():
        gauge.add_metric((value,), count)
    return gauge
