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
        self._at = self._stepped = time.monotonic()
        self._beat: tuple[Any, Any] | None = None

    @property
    def idle(self) -> float:
        """Seconds since the last step, since a phase began, or since something moved in it."""
        return time.monotonic() - self._at

    def heard(self, event: dict[str, Any]) -> None:
        """An event of the trainer's."""
        now = time.monotonic()
        if event["type"] == "phase" and "beat" in event:
            # That it speaks is not enough: a trainer that waits for a dead disk may do so for ever.
            if (event["phase"], event["beat"]) != self._beat:
                self._beat, self._at = (event["phase"], event["beat"]), now
        elif event["type"] == "phase":
            self._at = self._stepped = now
        elif event["type"] == "progress" and int(event["step"]) > self._step:
            if self._step >= 0:
                self._steps.append((now - self._stepped) / (int(event["step"]) - self._step))
            self._step = int(event["step"])
            self._at = self._stepped = now

    def stands_still(self, seconds: float) -> bool:
        """Whether nothing moved for so many seconds, or for ten times the median step if that is longer."""
        median = statistics.median(self._steps) if self._steps else 0.0
        return self.idle > max(SLOW * median, seconds)
