"""What a training run says while it runs: one JSON object a line in events.jsonl. Knows no torch.

The lines are the whole interface to whoever supervises the run; docs/architecture.md lists the types.
"""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Listener = Callable[[dict[str, Any]], None]


def _strict(value: Any) -> Any:
    """NaN and infinities are not JSON; they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return value


class Stopped(Exception):
    """A run ended because it was asked to; up to `step` it is kept, and a later one goes on from there."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}")
        self.step = step


class Events:
    """Appends events to a file, whole lines at a time, and tells a listener."""

    def __init__(self, path: Path | None, listener: Listener | None = None) -> None:
        """path None: tell the listener only (ranks above 0 pass neither)."""
        self._file = path.open("a", encoding="utf-8") if path is not None else None
        self._listener = listener
        self._lock = threading.Lock()

    def emit(self, type_: str, **fields: Any) -> None:
        """Append one event; `at` is the time now, in UTC."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"at": at, "type": type_, **_strict(fields)}
        with self._lock:
            if self._file is not None:
                self._file.write(json.dumps(event, allow_nan=False) + "\n")
                self._file.flush()
            if self._listener is not None:
                self._listener(event)

    def close(self) -> None:
        """Close the file; further events would raise."""
        if self._file is not None:
            self._file.close()


def print_event(event: dict[str, Any]) -> None:
    """A line of plain text on stderr for whoever runs the trainer by hand, or reads its log."""
    kind = event["type"]
    if kind == "progress":
        begin = f"epoch {event['epoch']}  step" if "epoch" in event else "image"
        text = (
            f"{begin} {event['step']}/{event['steps_total']} ({event['fraction']:.0%})  "
            f"{event['images_per_second']:.0f} images/s  {_clock(event['eta_seconds'])} left"
        )
    elif kind == "metrics":
        text = "  ".join(f"{name} {value:.4g}" for name, value in event["values"].items() if value is not None)
        text = f"step {event['step']}  {text}"
    elif kind == "phase":
        text = event["phase"] + (f" {event['done']}/{event['total']}" if event.get("total") else "")
    elif kind == "health":
        advice = f"; try: {'; '.join(event['suggestions'])}" if event.get("suggestions") else ""
        text = f"health  {event['verdict']}: {'; '.join(event['reasons'])}{advice}"
    else:
        text = kind + "  " + "  ".join(f"{key} {value}" for key, value in event.items() if key not in {"at", "type", "manifest"})
    print(f"{event['at'][11:19]}  {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
