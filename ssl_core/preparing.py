"""How far the decoding of a run's files is, as events. Knows no torch."""

from __future__ import annotations

import time
from collections.abc import Callable

from ssl_core.events import Events, Stopped

SAY_SECONDS = 0.5


def preparing(events: Events, asked_to_stop: Callable[[], bool]) -> Callable[[int, int], None]:
    """Begins the phase; what it returns hears of files decoded (done, total), and raises Stopped."""
    events.emit("phase", phase="preparing")
    began, said, first = time.monotonic(), 0.0, 0

    def progress(done: int, total: int) -> None:
        nonlocal said, first
        if asked_to_stop():
            raise Stopped(0)
        now = time.monotonic()
        first = min(first or done, done)  # where an earlier attempt left off, the rest alone tells the speed
        if done == total or now - said > SAY_SECONDS:
            said = now
            speed = (done - first) / max(now - began, 1e-9)
            eta = round((total - done) / speed, 1) if speed else None
            events.emit("phase", phase="preparing", done=done, total=total, images_per_second=round(speed, 1), eta_seconds=eta)

    return progress
