"""Counters of this process in Prometheus' text format. A handful of names, no dependency."""

from __future__ import annotations

import threading
from collections import defaultdict

Labels = tuple[tuple[str, str], ...]

HELP = {  # name: (type, what it counts)
    "imprint_http_requests_total": ("counter", "HTTP answers by method, route and status."),
    "imprint_http_seconds_total": ("counter", "Seconds until the head of the answer, by method and route."),
    "imprint_embed_images_total": ("counter", "Images embedded."),
    "imprint_embed_bad_images_total": ("counter", "Images that could not be read."),
    "imprint_embed_batches_total": ("counter", "Batches given to an encoder."),
    "imprint_embed_queue_seconds_total": ("counter", "Seconds requests waited for their batch."),
    "imprint_embed_infer_seconds_total": ("counter", "Seconds spent in encoders."),
    "imprint_embed_pending_images": ("gauge", "Images accepted and not yet answered."),
    "imprint_encoders_loaded": ("gauge", "Encoders in memory."),
    "imprint_jobs": ("gauge", "Jobs by status."),
}


class Telemetry:
    """Numbers that only grow, and numbers that are; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Raise a counter."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            series = self._values[name]
            series[key] = series.get(key, 0.0) + value

    def set(self, name: str, value: float, **labels: str) -> None:
        """Put a gauge."""
        with self._lock:
            self._values[name][tuple(sorted(labels.items()))] = value

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer. Unknown methods share one name, so that strangers cannot grow the table."""
        known = method if method in {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} else "OTHER"
        self.add("imprint_http_requests_total", method=known, route=route, status=str(status))
        self.add("imprint_http_seconds_total", seconds, method=known, route=route)

    def render(self) -> str:
        """The page that Prometheus reads."""
        with self._lock:
            series = {name: dict(values) for name, values in self._values.items()}
        lines: list[str] = []
        for name in sorted(series):
            kind, about = HELP.get(name, ("untyped", name))
            lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value:.9g}" for labels, value in sorted(series[name].items())]
        return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{key}="{quoted(value)}"' for key, value in labels) + "}" if labels else ""
