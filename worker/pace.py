"""How fast a trainer makes its steps, and whether it has stopped making any."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

SLOW = 10  # times the median step, without one


class Pace:
    """Of one attempt."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=50)  # seconds per step, of late
        self._step = -1
        self._at = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds since the last step, or since a phase began."""
        return time.monotonic() - self._at

    def heard(self, event: dict[str, Any]) -> None:
        """An event of the trainer's."""
        now = time.monotonic()
        if event["type"] == "phase":
            self._at = now
        elif event["type"] == "progress" and int(event["step"]) > self._step:
            if self._step >= 0:
                self._steps.append((now - self._at) / (int(event["step"]) - self._step))
            self._step, self._at = int(event["step"]), now

    def stands_still(self, seconds: float) -> bool:
        """Whether there was no step for so many seconds, or for ten times the median step if that is longer."""
        median = statistics.median(self._steps) if self._steps else 0.0
        return self.idle > max(SLOW * median, seconds)
