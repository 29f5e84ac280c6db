"""Whose turn it is to tell a tracker, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from jobs.records import EncoderDraft, JobRecord, Point, Report
from jobs.repository import Repository
from jobs.trackings import Trackings

AT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def trackings(repository: Repository) -> Trackings:
    return Trackings(repository.database)


def due(repository: Repository) -> None:
    with repository.database.write() as session:
        session.execute(text("UPDATE trackings SET due_ms = 0"))


def test_one_worker_at_a_time_keeps_it_as_long_as_it_comes_back(
    repository: Repository, trackings: Trackings, submit: Callable[..., JobRecord]
) -> None:
    job = submit(tracking={"tensorboard": {}})
    first = trackings.claim("one", 60)
    assert first is not None and not first.kept and trackings.claim("one", 60) is None
    trackings.told(first, job, run="r", link=None, again_seconds=0, settled=False)
    assert trackings.claim("two", 60) is None
    again = trackings.claim("one", 60)
    assert again is not None and again.kept and again.run == "r"
    with repository.database.write() as session:
        session.execute(text("UPDATE trackings SET lease_ms = 0, due_ms = 0"))
    other = trackings.claim("two", 60)
    assert other is not None and not other.kept
    trackings.told(again, job, run="late", link=None, again_seconds=0, settled=True)
    assert trackings.of(job.id)[0].run == "r" and not trackings.failed(again, "late")


def test_a_job_without_trackers_is_no_one_s_affair(trackings: Trackings, submit: Callable[..., JobRecord]) -> None:
    job = submit()
    assert trackings.claim("one", 60) is None and trackings.of(job.id) == []


def test_settled_until_its_state_changes(
    repository: Repository, trackings: Trackings, submit: Callable[..., JobRecord], draft: Callable[..., EncoderDraft]
) -> None:
    job_id = submit(tracking={"tensorboard": {}, "mlflow": {}}).id
    repository.request_cancel(job_id)
    for _ in range(2):
        telling = trackings.claim("one", 60)
        assert telling is not None
        trackings.told(telling, repository.get(job_id), run="r", link=None, again_seconds=0, settled=True)
    assert trackings.claim("one", 60) is None
    repository.resume(job_id)
    assert repository.claim(job_id, "w", 60) is not None
    repository.succeed(job_id, 1, draft())  # all of it between two looks
    assert trackings.claim("one", 60) is not None and trackings.claim("one", 60) is not None


def test_not_settled_by_one_who_saw_it_before_it_changed(
    repository: Repository, trackings: Trackings, submit: Callable[..., JobRecord]
) -> None:
    job_id = submit(tracking={"tensorboard": {}}).id
    cancelled = repository.request_cancel(job_id)
    telling = trackings.claim("one", 60)
    assert telling is not None
    repository.resume(job_id)
    trackings.told(telling, cancelled, run="r", link=None, again_seconds=0, settled=True)
    assert trackings.claim("one", 60) is not None


def test_values_are_those_after_what_is_known_of_each_name(
    repository: Repository, trackings: Trackings, submit: Callable[..., JobRecord]
) -> None:
    job_id = submit(tracking={"tensorboard": {}}).id
    assert trackings.values(job_id, {}, 10) == []
    assert repository.claim(job_id, "w", 60) is not None
    loss = [Point("loss", step, 0, 1.0, AT) for step in range(1, 6)]
    repository.record(job_id, 1, Report(points=[*loss, Point("knn", 0, 0, 50.0, AT), Point("knn", 4, 0, None, AT)]), 60)

    def found(known: dict[str, int], limit: int = 100) -> list[tuple[str, int]]:
        return [(point.name, point.step) for point in trackings.values(job_id, known, limit)]

    assert found({"loss": 3}) == [("knn", 0), ("knn", 4), ("loss", 4), ("loss", 5)]
    assert found({"loss": 5, "knn": 3}) == [("knn", 4)], "measured late, of a step that others have passed"
    assert found({}, 3) == [("knn", 0), ("loss", 1), ("loss", 2)] and found({"loss": 5, "knn": 4}) == []
    assert trackings.values(job_id, {"loss": 5}, 1)[0].at == AT
