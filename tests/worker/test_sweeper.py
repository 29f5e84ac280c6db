"""What a sweep finds and does, and that it may be done at any time, by anyone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import queue
from jobs.ids import encoder_id
from jobs.settings import get_settings
from support.processes import eventually
from support.servers import valkey, valkey_socket
from support.workplace import Workplace
from worker.sweeper import Sweeper


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for this process's broker, which a test starts."""
    monkeypatch.setenv("IMPRINT_REDIS_URL", f"redis+socket://{valkey_socket(tmp_path)}")
    get_settings.cache_clear()
    queue.celery_app.cache_clear()
    yield tmp_path
    queue.celery_app().close()
    get_settings.cache_clear()
    queue.celery_app.cache_clear()


def sweeper(place: Workplace) -> Sweeper:
    return Sweeper(place.repository, place.settings, place.woken.append)


def test_wakes_jobs_whose_lease_ran_out_once(place: Workplace, broker: Path) -> None:
    job_id = place.submit()
    assert place.repository.claim(job_id, "lost", 0.01) is not None
    time.sleep(0.05)
    first, second = sweeper(place), sweeper(place)
    first.sweep()
    second.sweep()
    assert place.woken == [job_id] and place.repository.get(job_id).status == "queued"


def test_wakes_what_was_overlooked_and_not_what_waits_its_turn(place: Workplace, broker: Path) -> None:
    settings = place.settings.model_copy(update={"sweep_seconds": 1.0})
    sweep = Sweeper(place.repository, settings, place.woken.append).sweep
    with valkey(broker):
        job_id = place.submit()
        assert sweep() == []  # it has only just come
        time.sleep(2.2)  # two sweeps
        assert queue.enqueue("job_of_somebody")  # wake-ups wait, so workers are busy: more would only pile up
        assert sweep() == []
        with queue.celery_app().connection_for_write() as connection:
            connection.default_channel.queue_purge(queue.QUEUE)
        assert sweep() == [job_id]
        assert sweep() == []  # woken a moment ago


def test_is_not_disturbed_by_a_broker_that_is_away(place: Workplace, broker: Path) -> None:
    place.submit()
    time.sleep(0.3)
    assert sweeper(place).sweep() == []


def test_cleans_up_folders_of_encoders_that_no_row_names(place: Workplace, broker: Path) -> None:
    job_id = place.submit(steps=1)
    place.run(job_id)
    [kept] = place.artifacts.encoders.iterdir()
    orphan = place.artifacts.encoders / f"{encoder_id(place.submit())}.1"
    orphan.mkdir()
    young = place.artifacts.encoders / f"{encoder_id(place.submit())}.1"
    young.mkdir()
    for folder in (kept, orphan):
        os.utime(folder, (time.time() - 4000,) * 2)
    sweeper(place).sweep()
    assert set(place.artifacts.encoders.iterdir()) == {kept, young}


def test_the_thread_outlives_a_database_that_is_away(place: Workplace, broker: Path) -> None:
    folder, away = place.settings.home / "database", place.settings.home / "away"
    job_id = place.submit()
    assert place.repository.claim(job_id, "lost", 0.01) is not None
    folder.rename(away)
    place.repository.database.engine.dispose()
    running = sweeper(place)
    running.start()
    time.sleep(0.5)
    assert place.woken == []
    away.rename(folder)
    eventually(lambda: place.woken == [job_id], "the sweep", 5)
    running.stop()
    assert "sweeper" not in [thread.name for thread in threading.enumerate()]
