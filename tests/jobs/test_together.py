"""Writes that share a commit: as good as one after the other, and faster where a commit waits for the disk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from jobs.errors import Unavailable
from jobs.records import JobDraft
from jobs.together import Together


class Slow:
    """A store whose commit takes a while; `kept` is what was committed, and `commits` how often."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.kept: list[Any] = []
        self.commits = 0
        self.seconds = seconds

    @contextlib.contextmanager
    def write(self) -> Iterator[Any]:
        new: list[Any] = []
        yield new
        time.sleep(self.seconds)
        self.kept += new
        self.commits += 1


def at_once(count: int, run: Any) -> list[Any]:
    """What `run(number)` gave, or raised, for every number; all begin at the same moment."""
    gate = threading.Barrier(count)

    def one(number: int) -> Any:
        gate.wait()
        try:
            return run(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def put(number: int) -> Any:
    def work(session: Any) -> int:
        session.append(number)
        return number * 10

    return work


class TestTogether:
    def test_all_are_committed_in_few_commits(self):
        store, together = Slow(), Together()
        assert at_once(16, lambda number: together.run(store.write, put(number))) == [10 * number for number in range(16)]
        assert sorted(store.kept) == list(range(16)) and store.commits <= 4

    def test_what_one_does_wrong_harms_no_other(self):
        store, together = Slow(), Together()

        def work(session: Any, number: int) -> int:
            session.append(number)
            if number == 3:
                raise ValueError("three")
            return number

        found = at_once(8, lambda number: together.run(store.write, lambda session: work(session, number)))
        assert isinstance(found.pop(3), ValueError)
        assert found == [0, 1, 2, 4, 5, 6, 7] and sorted(store.kept) == found

    def test_a_database_that_is_away_is_asked_once_for_all(self):
        asked = []

        @contextlib.contextmanager
        def write() -> Iterator[Any]:
            asked.append(1)
            time.sleep(0.05)
            raise Unavailable("away")
            yield

        together = Together()
        found = at_once(8, lambda number: together.run(write, put(number)))
        assert all(isinstance(each, Unavailable) for each in found) and len(asked) <= 3


@pytest.mark.parametrize("keys", [None, "the-same"])
def test_jobs_at_once(repository, keys):
    """Without keys: as many jobs as drafts, none twice. With one idempotency key: one job, for everybody."""
    before = len(repository.list(limit=100).data)

    def make(number: int) -> str:
        key = None if keys is None else keys
        return repository.create(JobDraft(None, "pretrain", "simclr", {}, idempotency_key=key, request_hash="x")).id

    made = at_once(12, make)
    jobs = {job.id for job in repository.list(limit=100).data}
    assert set(made) <= jobs and len(jobs) - before == len(set(made)) == (12 if keys is None else 1)
    with repository.database.read() as session:
        created = session.execute(text("SELECT job_id FROM events WHERE type = 'created'")).scalars().all()
    assert sorted(each for each in created if each in made) == sorted(set(made)), "each tells once that it was created"
