"""Writes of several threads in one transaction: those who come while one commits wait, and are committed together by the next.

A commit waits for the disk, whatever is in it; so many small writes at once are as fast as their number in one commit allows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from jobs.errors import Deadlock, Unavailable

T = TypeVar("T")
Write = Callable[[], AbstractContextManager[Session]]
MOST = 64  # in one transaction


@dataclass(eq=False)
class _Part:
    """What one thread wants to have written, and what became of it."""

    work: Callable[[Session], Any]
    context: Context = field(default_factory=copy_context)  # of the thread that asked: whose request it was
    done: bool = False
    value: Any = None
    error: Unavailable | None = None
    alone: bool = False  # the transaction with others failed, perhaps because of them


def once(session: Session, name: str, find: Callable[[], T]) -> T:
    """What was found before in this transaction under that name, or else is now: each question is a message to the database and
    back, and the answer is the same for all who share a transaction."""
    found: dict[str, Any] = session.info.setdefault("found", {})
    if name not in found:
        found[name] = find()
    value: T = found[name]
    return value


class Together:
    """One for each database of a process."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: deque[_Part] = deque()

    def run(self, write: Write, work: Callable[[Session], T]) -> T:
        """What `work(session)` returns, once it is committed. `write()` is a transaction; work may be called twice.

        Raises what work raises, having written nothing; and Unavailable.
        """
        part = _Part(work)
        self._waiting.append(part)
        with self._turn:
            if not part.done:
                self._commit(write)
        if part.error is not None:
            raise part.error
        if part.alone:
            with write() as session:
                return work(session)
        value: T = part.value
        return value

    def _commit(self, write: Write) -> None:
        """All that wait, in the order in which they came; the caller's own may be among the next."""
        while self._waiting:
            parts = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
            try:
                with write() as session:
                    for part in parts:
                        part.value = part.context.run(part.work, session)
            except Deadlock:  # with another process, which has what two of these need, in the other order
                for part in parts:
                    part.alone = True
            except Unavailable as error:
                for part in parts:
                    part.error = error
            except Exception:  # each may find out for itself whether it was the cause
                for part in parts:
                    part.alone = True
            finally:
                for part in parts:
                    part.done = True
