"""Work that lies in the database: look, claim, do it in a thread of its own; several at a time, but only so many."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from jobs.errors import JobsError

log = logging.getLogger("worker")
Item = TypeVar("Item")


class Rounds(Generic[Item]):
    """Claims until nothing is left, then waits a little. What is under way when the process ends is claimed again by others."""

    def __init__(
        self, name: str, claim: Callable[[], Item | None], handle: Callable[[Item], object], *, slots: int, every: float
    ) -> None:
        """claim: what is to be done, or None. handle: does it. every: seconds between two looks."""
        self.name, self._claim, self._handle, self._every = name, claim, handle, every
        self._free = threading.Semaphore(slots)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Claim no more. What is under way is not waited for."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                while not self._stop.is_set() and self._begin():
                    pass
            except JobsError as error:
                log.warning("%s: %s", self.name, error)
            except Exception:
                log.exception("%s failed; the next look may not", self.name)
            self._stop.wait(self._every)

    def _begin(self) -> bool:
        """Whether something was begun: there is a free slot, and something to do."""
        if not self._free.acquire(timeout=self._every):
            return False
        item = None
        try:
            item = self._claim()
        finally:
            if item is None:
                self._free.release()
        if item is None:
            return False
        threading.Thread(target=self._do, args=[item], name=self.name, daemon=True).start()
        return True

    def _do(self, item: Item) -> None:
        try:
            self._handle(item)
        except JobsError as error:
            log.warning("%s: %s", self.name, error)
        except Exception:
            log.exception("%s failed at %r", self.name, item)
        finally:
            self._free.release()
