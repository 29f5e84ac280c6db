"""How far the decoding of a run's files is, and that it moves at all, as events. Knows no torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssl_core.data.moving import heard_by
from ssl_core.events import Events, Stopped

SAY_SECONDS = 0.5

Progress = Callable[[int, int], None]


@contextmanager
def preparing(events: Events, asked_to_stop: Callable[[], bool]) -> Iterator[Progress]:
    """The phase in which data are read. What it gives hears of files decoded (done, total); it and whatever moves in the block
    raise Stopped."""
    events.emit("phase", phase="preparing")
    told = _Told(events, "preparing", asked_to_stop)
    with heard_by(told.moved):
        yield told


@contextmanager
def moving(events: Events, phase: str) -> Iterator[None]:
    """Any phase whose steps may be far apart: what moves in the block is told of."""
    with heard_by(_Told(events, phase, lambda: False).moved):
        yield


class _Told:
    """Events of type phase with `beat`, which grows whenever something has moved, and `done` of `total` where that is known."""

    def __init__(self, events: Events, phase: str, asked_to_stop: Callable[[], bool]) -> None:
        self.events, self.phase, self.asked_to_stop = events, phase, asked_to_stop
        self.beat, self.began, self.said, self.first = 0, time.monotonic(), float("-inf"), 0
        self.looked = self.began
        self.far: dict[str, float | None] = {}  # as it was last told

    def moved(self) -> None:
        self.beat += 1
        if time.monotonic() - self.looked > SAY_SECONDS:  # it may be called a million times a second
            self.looked = time.monotonic()
            if self.asked_to_stop():
                raise Stopped(0)
            self._say()

    def __call__(self, done: int, total: int) -> None:
        if self.asked_to_stop():
            raise Stopped(0)
        self.first = min(self.first or done, done)  # where an earlier attempt left off, the rest alone tells the speed
        speed = (done - self.first) / max(time.monotonic() - self.began, 1e-9)
        eta = round((total - done) / speed, 1) if speed else None
        self.far = {"done": done, "total": total, "images_per_second": round(speed, 1), "eta_seconds": eta}
        self._say(at_once=done == total)

    def _say(self, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self.said > SAY_SECONDS:
            self.said = now
            self.events.emit("phase", phase=self.phase, beat=self.beat, **self.far)
