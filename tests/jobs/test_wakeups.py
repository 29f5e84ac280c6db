"""Wake-ups from a thread of their own: nobody waits for the broker, and while it answers none is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import queue
from jobs.settings import get_settings
from jobs.wakeups import Wakeups
from support.processes import eventually
from support.servers import valkey, valkey_socket


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a broker, which the settings of this process name."""
    monkeypatch.setenv("IMPRINT_HOME", str(tmp_path))
    monkeypatch.setenv("IMPRINT_REDIS_URL", f"redis+socket://{valkey_socket(tmp_path)}")
    get_settings.cache_clear()
    queue.celery_app.cache_clear()
    yield tmp_path
    queue.celery_app().close()
    get_settings.cache_clear()
    queue.celery_app.cache_clear()


def test_all_arrive_before_the_end(home):
    wake = Wakeups()
    with valkey(home):
        for number in range(200):
            wake(f"job_{number}")
        wake.close()
        assert queue.pending() == 200


def test_a_broker_that_starts_again_gets_the_next_one(home):
    wake = Wakeups()
    with valkey(home):
        wake("job_1")
        eventually(lambda: queue.pending() == 1, "the first arrives")
    with valkey(home):
        wake("job_2")
        eventually(lambda: queue.pending() == 2, "the second arrives, by another connection")
        wake.close()


def test_nobody_waits_for_a_broker_that_is_away(home, caplog):
    wake = Wakeups()
    begun = time.monotonic()
    for number in range(1000):
        wake(f"job_{number}")
    assert time.monotonic() - begun < 1
    wake.close()
    assert "job_999: no wake-up sent" in caplog.text and "sweep will find" in caplog.text


def test_one_that_was_never_used_has_no_thread(home):
    wake = Wakeups()
    wake.close()
    assert wake._thread.ident is None
