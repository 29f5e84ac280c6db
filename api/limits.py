"""How much at once: a bucket of tokens for each key, which a request takes one from and time fills again."""

from __future__ import annotations

import math
from collections import OrderedDict

from api.errors import Problem

REMEMBERED = 10_000  # keys


class Rate:
    """At most `per_second` requests of a key in the long run, and `burst` at once; 0: any number."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second, self.burst = per_second, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: (tokens, when that was)

    def take(self, key: str, now: float) -> float:
        """0 for a request that may go on; else how many seconds from now one may. `now` in seconds, never falling."""
        if not self.per_second:
            return 0.0
        tokens, at = self._buckets.pop(key, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - at) * self.per_second)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.per_second
        self._buckets[key] = (tokens if wait else tokens - 1, now)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return wait

    def refusal(self, wait: float) -> Problem:
        """429 with what the limit is."""
        detail = (
            f"More than {self.per_second:g} requests a second with one key (and {self.burst} at once); try again in {wait:.1f} s."
        )
        return Problem("busy", detail, headers={"Retry-After": str(math.ceil(wait))})
