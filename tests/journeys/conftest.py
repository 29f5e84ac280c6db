"""One running service for all journeys, and one job that nothing ever disturbed, to compare the others with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.composed import free_port
from support.journeys import Undisturbed, draw_pictures, spec
from support.service import Service


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root."""
    root = tmp_path_factory.mktemp("data")
    draw_pictures(root)
    return root


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Service]:
    """Broker and API up until the last journey has ended; then nothing of it may be left."""
    service = Service(tmp_path_factory.mktemp("service"), pictures, free_port())
    try:
        service.start_broker()
        service.start_api()
        yield service
    finally:
        left = service.close()
    assert left == [], "a trainer outlived its worker"
    assert service.api.exit_code in (0, -15), service.api.tail()  # uvicorn ends itself by the signal it has obeyed


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """The service with a broker, an API and one worker, and nothing to do."""
    running.start_broker()
    if not running.worker.running:
        running.start_worker()
    yield running
    running.rest()


@pytest.fixture(scope="session")
def undisturbed(running: Service) -> Undisturbed:
    """See Undisturbed. Needs a worker: ask for `service` first."""
    if not running.worker.running:
        running.start_worker()
    began = time.monotonic()
    job = running.client.submit(name="undisturbed", labels={"team": "a"}, **spec())
    assert job.status == "queued" and job.attempt == 0
    running.until(lambda: (running.job(job.id).progress.step or 0) >= 1, "the first step")
    to_first_step = time.monotonic() - began
    ended = running.succeeded(job.id)
    assert ended.attempt == 1 and ended.encoder is not None
    return Undisturbed(ended, running.home / "encoders" / f"{ended.encoder}.1", to_first_step)
