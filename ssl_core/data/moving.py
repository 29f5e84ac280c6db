"""That the reading of data moves: told from deep within it, heard by whoever must tell a slow source from a stuck one.

    with heard_by(hear): ...        every moved() in the block, on this thread, calls hear()

A walk along a million files, hashing, a download and decoding have different counts, or none; that a further piece of work is
done they can all say. Nobody hears it where nobody listens. Knows no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TypeVar

LOOK_SECONDS = 0.5

T = TypeVar("T")
_hearers: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("hearers", default=())


@contextmanager
def heard_by(hear: Callable[[], None]) -> Iterator[None]:
    """Besides whoever hears it already. What `hear` raises ends the work."""
    token = _hearers.set((*_hearers.get(), hear))
    try:
        yield
    finally:
        _hearers.reset(token)


def moved() -> None:
    """A further piece of work is done, however small: a file, a line, a mebibyte."""
    for hear in _hearers.get():
        hear()


def while_growing(read: Callable[[], T], place: Path, name: str) -> T:
    """What `read` returns, or raises. It runs in a thread: what can be seen of its moving is that files of `place` whose names
    begin with `name`, or files of such folders, have grown. What a hearer raises leaves it behind; it ends with the process."""
    came: list[T] = []
    wrong: list[BaseException] = []

    def run() -> None:
        try:
            came.append(read())
        except BaseException as error:  # raised again below, in the thread that asked
            wrong.append(error)

    thread = threading.Thread(target=run, name=f"read {name}", daemon=True)
    thread.start()
    size, looked = _bytes(place, name), time.monotonic()
    while thread.is_alive():
        thread.join(LOOK_SECONDS)
        if time.monotonic() - looked >= LOOK_SECONDS:
            before, size, looked = size, _bytes(place, name), time.monotonic()
            if size != before:
                moved()
    if wrong:
        raise wrong[0]
    return came[0]


def _bytes(place: Path, name: str) -> int:
    total = 0
    for pattern in (f"{name}*", f"{name}*/*"):
        for file in place.glob(pattern):
            try:
                total += file.stat().st_size
            except OSError:  # gone since it was listed: a temporary file
                continue
    return total
