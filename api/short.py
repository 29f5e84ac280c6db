"""Routes that ask the database one short question: few of them work at a time, whoever waits.

Such a question takes a fraction of a millisecond of Python. With a thread for each of sixteen that come at once, the threads and
the event loop wait for each other's turn at the interpreter longer than for the database: fewer answers, and late ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import anyio
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

from jobs.errors import Unavailable

AT_ONCE = 3  # one that computes, and two whose database is another process, or a disk
LONG_AT_ONCE = 2  # that read a job's whole history: seconds each, where it has a million values
PATIENCE = 10.0  # seconds, as for a connection of the pool: a database that is silent keeps all that ask it
P = ParamSpec("P")
T = TypeVar("T")
_turns: RunVar[anyio.CapacityLimiter] = RunVar("turns of short questions")
_long_turns: RunVar[anyio.CapacityLimiter] = RunVar("turns of long ones")


def short(route: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The route, in a thread, when it is its turn. Raises Unavailable (503) when its turn does not come."""
    return _taking_turns(route, _turns, AT_ONCE)


def long(route: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same for what reads much: it has turns of its own, so that short questions never wait for it."""
    return _taking_turns(route, _long_turns, LONG_AT_ONCE)


def _taking_turns(
    route: Callable[P, T], turns: RunVar[anyio.CapacityLimiter], at_once: int
) -> Callable[P, Coroutine[Any, Any, T]]:
    @functools.wraps(route)
    async def in_turn(*args: P.args, **kwargs: P.kwargs) -> T:
        mine = _of_this_loop(turns, at_once)
        try:
            with anyio.fail_after(PATIENCE):
                await mine.acquire()
        except TimeoutError:
            raise Unavailable("the database does not answer: others are waiting for it") from None
        try:
            return await run_sync(functools.partial(route, *args, **kwargs))
        finally:
            mine.release()

    return in_turn


def _of_this_loop(turns: RunVar[anyio.CapacityLimiter], at_once: int) -> anyio.CapacityLimiter:
    try:
        return turns.get()
    except LookupError:
        made = anyio.CapacityLimiter(at_once)
        turns.set(made)
        return made
