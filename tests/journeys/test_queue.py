"""Waiting, being woken more often than needed, and having no broker to be woken by."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jobs import queue
from jobs.settings import get_settings
from support.journeys import spec
from support.service import Service


@pytest.fixture
def wake(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process sends wake-ups and looks into the queue as the API does."""
    for name, value in service.env.items():
        if name.startswith("IMPRINT_"):
            monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    queue.celery_app.cache_clear()
    yield
    queue.celery_app().close()
    get_settings.cache_clear()
    queue.celery_app.cache_clear()


def test_two_jobs_on_one_worker_run_one_after_the_other(service: Service) -> None:
    first, second = (service.client.submit(name=name, **spec(max_epochs=2)).id for name in ("first", "second"))
    seen: set[tuple[str, str]] = set()

    def both_ended() -> bool:
        states = service.job(second).status, service.job(first).status  # the later one first: it cannot begin in between
        trained = len(service.trainers(first)) + len(service.trainers(second))
        assert states != ("running", "running") and trained <= 1
        seen.add(states)
        return states == ("succeeded", "succeeded")

    service.until(both_ended, "both jobs end")
    assert ("queued", "running") in seen and ("running", "succeeded") in seen, seen
    (ended,), (began,) = service.history(first, "succeeded"), service.history(second, "running")
    assert ended.at <= began.at
    assert service.job(first).attempt == service.job(second).attempt == 1
    assert {service.job(first).encoder, service.job(second).encoder} <= {each.id for each in service.client.encoders()}


def test_a_message_that_comes_often_changes_nothing(service: Service, wake: None) -> None:
    job_id = service.client.submit(**spec(max_epochs=2)).id
    service.until(lambda: service.job(job_id).status == "running", "the job runs")
    refused = f"{job_id} is not queued (any more)"
    before = service.worker.log.read_text().count(refused)
    assert all(queue.enqueue(job_id) for _ in range(5))
    ended = service.succeeded(job_id)
    history = list(service.client.events(job_id))
    assert all(queue.enqueue(job_id) for _ in range(5))
    service.until(lambda: service.worker.log.read_text().count(refused) >= before + 10, "all ten are received and passed over")
    assert queue.pending() == 0

    assert service.job(job_id).raw == ended.raw and ended.attempt == 1
    assert list(service.client.events(job_id)) == history
    assert [event.type for event in history].count("running") == 1
    assert [folder.name for folder in service.attempt(job_id).parent.iterdir() if folder.is_dir()] == ["1"]
    assert ended.encoder is not None and [each.name for each in service.published(ended.encoder)] == [f"{ended.encoder}.1"]


def test_without_a_broker_jobs_are_accepted_and_run_when_it_is_back(service: Service) -> None:
    assert service.http.get("/readyz").json()["status"] == "ok"
    training = service.client.submit(**spec(max_epochs=10)).id
    service.until(lambda: service.job(training).progress.step, "the first step")
    service.stop_broker()

    ready = service.http.get("/readyz")
    assert ready.status_code == 200, "the service still does most of its work"
    assert ready.json() == {"status": "degraded", "components": {"database": "ok", "broker": "failed", "disk": "ok"}}
    began = time.monotonic()
    answer = service.http.post("/jobs", json=spec(max_epochs=2))
    assert answer.status_code == 202 and time.monotonic() - began < 10
    waiting = answer.json()["id"]
    assert answer.headers["Location"].endswith(f"/jobs/{waiting}")

    assert service.succeeded(training).attempt == 1, "what ran did not need the broker"
    time.sleep(2)  # several sweeps: they must neither fail nor start it
    assert service.worker.running and service.job(waiting).status == "queued"

    service.start_broker()
    assert service.http.get("/readyz").json()["status"] == "ok"
    assert service.succeeded(waiting).attempt == 1
