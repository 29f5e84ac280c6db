"""A lease as its holder sees it: an end to the trainer when it may have run out, and kept while something takes long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

_LOOK = 0.5  # seconds between two looks at the clock, at most


class Lease:
    """Counted from before the database was asked for it: it never lasts longer here than there."""

    def __init__(self, seconds: float, asked: float) -> None:
        """asked: time.monotonic() before the claim."""
        self.seconds = seconds
        self._asked = asked

    def renewed(self, asked: float) -> None:
        """The database has renewed it; `asked`: time.monotonic() before it was told to."""
        self._asked = asked

    @property
    def age(self) -> float:
        """Seconds since it was last renewed."""
        return time.monotonic() - self._asked

    @property
    def lapsed(self) -> bool:
        """Whether someone else may have the job by now."""
        return self.age > self.seconds

    @contextmanager
    def enforced(self, stop: Callable[[], object]) -> Iterator[None]:
        """Within the block `stop()` is called once when the lease has lapsed, whatever the calling thread is waiting for:
        a database that is frozen, or behind a dead network, answers neither yes nor no."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(max(0.01, min(_LOOK, self.seconds - self.age))):
                if self.lapsed:
                    stop()
                    return

        with _thread(watch, over, "lease"):
            yield

    @contextmanager
    def kept(self, renew: Callable[[], object], every: float) -> Iterator[None]:
        """Within the block `renew()` is called every so many seconds; it tells `renewed` and raises nothing."""
        over = threading.Event()

        def keep() -> None:
            while not over.wait(every):
                renew()

        with _thread(keep, over, "heartbeat"):
            yield


@contextmanager
def _thread(run: Callable[[], None], over: threading.Event, name: str) -> Iterator[None]:
    thread = threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True)  # its lines are about the same job
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)
