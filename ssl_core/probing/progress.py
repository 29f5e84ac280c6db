"""How far a measurement is, as events. A step is a picture whose features are taken, or a step of the optimiser."""

from __future__ import annotations

import time
from collections.abc import Callable

from ssl_core.events import Events, Stopped

SAY_SECONDS = 1.0


class Said:
    """`total` steps in all; a phase begins at any of them."""

    def __init__(self, events: Events, total: int, asked_to_stop: Callable[[], bool]) -> None:
        self.events, self.total, self.asked_to_stop = events, total, asked_to_stop
        self._began = self._at = time.monotonic()
        self._first = 0
        self._images = 0

    def begin(self, phase: str, step: int) -> None:
        """A part of the work begins; its speed is its own."""
        self.events.emit("phase", phase=phase)
        self._began = self._at = time.monotonic()
        self._first, self._images = step, 0

    def done(self, step: int, images: int, epoch: int | None = None) -> bool:
        """So many images more, up to `step`; whether it was told (once a second, and at the end)."""
        self._images += images
        now = time.monotonic()
        if now - self._at < SAY_SECONDS and step < self.total:
            return False
        self._at = now
        took = max(now - self._began, 1e-9)
        self.events.emit(
            "progress",
            **({} if epoch is None else {"epoch": epoch}),
            step=step,
            steps_total=self.total,
            fraction=step / self.total,
            images_per_second=round(self._images / took, 1),
            eta_seconds=round((self.total - step) * took / max(step - self._first, 1), 1),
        )
        return True

    def checked(self, step: int) -> None:
        """Raises Stopped if it was asked for; up to `step` everything is kept."""
        if self.asked_to_stop():
            raise Stopped(step)
