"""Writes that share a commit: as good as one after the other, and faster where a commit waits for the disk."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import event, text

from jobs.errors import Deadlock, TooMany, Unavailable
from jobs.records import JobDraft
from jobs.repository import Repository
from jobs.together import MOST, Together
from jobs.trackings import Trackings
from jobs.webhooks import Webhooks


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

    def test_a_deadlock_with_another_process_harms_nobody(self):
        """The transaction of many is ended by the database; each alone goes through."""
        store, together, ended = Slow(), Together(), []

        @contextlib.contextmanager
        def write() -> Iterator[Any]:
            with store.write() as new:
                yield new
                if len(new) > 1:
                    ended.append(len(new))
                    raise Deadlock("two transactions waited for each other")

        assert at_once(8, lambda number: together.run(write, put(number))) == [10 * number for number in range(8)]
        assert sorted(store.kept) == list(range(8)) and ended


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


def shared(repository: Repository, monkeypatch: pytest.MonkeyPatch, run: Callable[[], Any]) -> list[str]:
    """The statements of one transaction in which everything is that `run` creates."""
    statements: list[str] = []

    def heard(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement.split()[0] + " " + statement.split("INTO ")[-1].split()[0])

    event.listen(repository.database.engine, "before_cursor_execute", heard)
    try:
        with repository.database.write() as session, monkeypatch.context() as patched:
            patched.setattr(repository.database, "together", lambda work: work(session))
            run()
    finally:
        event.remove(repository.database.engine, "before_cursor_execute", heard)
    return statements


def test_a_shared_transaction_asks_and_writes_once_for_all(repository, monkeypatch):
    draft = JobDraft(None, "pretrain", "simclr", {}, labels={"team": "a"})
    said = shared(repository, monkeypatch, lambda: [repository.create(draft, max_queued=1000) for _ in range(10)])
    assert len([each for each in said if each.startswith("SELECT")]) == 3, "the time, the queue, the webhooks"
    assert said.count("INSERT jobs") == said.count("INSERT job_labels") == 1
    one_by_one = repository.database.engine.dialect.name == "sqlite"  # which tells the id of one new row
    assert said.count("INSERT events") == (10 if one_by_one else 1)
    assert len(repository.list(labels={"team": "a"}, limit=100).data) == 10


def test_trackers_and_webhooks_of_jobs_that_share_a_transaction(repository, monkeypatch):
    hooks = Webhooks(repository.database)
    _, hook = hooks.create("https://hooks.example/x", ["job.queued"])
    draft = JobDraft(None, "pretrain", "simclr", {}, labels={"team": "a"}, tracking={"tensorboard": {}})
    shared(repository, monkeypatch, lambda: [repository.create(draft) for _ in range(5)])
    jobs = [job.id for job in repository.list(limit=100).data]
    assert len(jobs) == len(hooks.deliveries(hook.id).data) == 5
    assert all(len(Trackings(repository.database).of(job)) == 1 for job in jobs)


@pytest.mark.parametrize("most", [3, MOST + 3])
def test_a_shared_transaction_fills_the_queue_to_its_last_place(repository, monkeypatch, most):
    draft = JobDraft(None, "pretrain", "simclr", {})

    def create() -> None:
        repository.create(draft, max_queued=most)

    def fill() -> None:
        for _ in range(min(most, MOST)):  # no transaction has more parts than that
            create()

    for _ in range(most - min(most, MOST)):
        create()
    shared(repository, monkeypatch, fill)
    with pytest.raises(TooMany, match=f"{most} jobs wait"):
        create()
    with repository.database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM jobs")) == most


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_deadlock_is_known_as_one(repository, submit):
    """Two transactions lock the same two jobs in another order: one of them is ended."""
    first, second = submit().id, submit().id
    gate = threading.Barrier(2)

    def lock(number: int) -> None:
        order = (first, second) if number else (second, first)
        with repository.database.write() as session:
            for job_id in order:
                session.execute(text("UPDATE jobs SET notes = notes WHERE id = :id"), {"id": job_id})
                if job_id == order[0]:
                    gate.wait()

    found = at_once(2, lock)
    assert [type(each) for each in found if each is not None] == [Deadlock]
