"""What this process counts, for Prometheus: every name in one table, kept by prometheus_client in a registry of the app's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_COUNTERS = {  # name without "_total": (what it counts, labels)
    "imprint_http_requests": ("HTTP answers by method, route and status.", ("method", "route", "status")),
    "imprint_http_seconds": ("Seconds until the head of the answer, by method and route.", ("method", "route")),
    "imprint_embed_requests": ("Requests for embeddings by how they ended: ok, or the kind of problem.", ("outcome",)),
    "imprint_embed_images": ("Images embedded.", ()),
    "imprint_embed_bad_images": ("Images that could not be read.", ()),
    "imprint_encoders_dropped": ("Encoders dropped from memory, by reason: room, idle.", ("reason",)),
}
_GAUGES = {
    "imprint_embed_pending_images": ("Images accepted and not yet answered.", ()),
    "imprint_embed_pending_bytes": ("Bytes of pictures accepted and not yet answered.", ()),
    "imprint_encoders_loaded": ("Encoders in memory.", ()),
    "imprint_encoders_bytes": ("Bytes that the encoders in memory are counted with.", ()),
}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_HISTOGRAMS = {
    "imprint_embed_batch_images": ("Images in a batch given to an encoder.", (1, 2, 4, 8, 16, 32, 64)),
    "imprint_embed_decode_seconds": ("Seconds to decode and prepare the pictures of a request.", _SECONDS),
    "imprint_embed_queue_seconds": ("Seconds a request waited for its first batch.", _SECONDS),
    "imprint_embed_infer_seconds": ("Seconds of a batch in an encoder.", _SECONDS),
    "imprint_encoder_load_seconds": ("Seconds to load an encoder.", _SECONDS),
}
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}


class Telemetry:
    """Numbers that only grow, numbers that are, and distributions; safe to use from any thread."""

    def __init__(self) -> None:
        self._registry = kept = CollectorRegistry()
        self._counters = {name: Counter(name, about, labels, registry=kept) for name, (about, labels) in _COUNTERS.items()}
        self._gauges = {name: Gauge(name, about, labels, registry=kept) for name, (about, labels) in _GAUGES.items()}
        self._histograms = {
            name: Histogram(name, about, registry=kept, buckets=buckets) for name, (about, buckets) in _HISTOGRAMS.items()
        }

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Raise a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(value)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Put a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float) -> None:
        """Add a value to a distribution."""
        self._histograms[name].observe(value)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. Unknown methods share one name, so that strangers cannot grow the table."""
        known = method if method in _METHODS else "OTHER"
        self.add("imprint_http_requests", method=known, route=route, status=str(status))
        self.add("imprint_http_seconds", seconds, method=known, route=route)

    def render(self) -> str:
        """The page that Prometheus reads."""
        return generate_latest(self._registry).decode()
