"""`python -m worker` as a process of its own, woken through a real broker: what only the whole of it can show."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import queue
from jobs.settings import get_settings
from support.processes import alive, eventually
from support.servers import valkey, valkey_socket
from support.workplace import COMMAND, Workplace


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Path]:
    """A folder for a broker that a test starts; a worker of this process's settings finds it there."""
    folder = tmp_path / "broker"
    folder.mkdir()
    yield folder


@pytest.fixture
def env(place: Workplace, broker: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment of workers, and this process's own."""
    settings = place.settings
    given = {
        "HOME": settings.home,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": f"redis+socket://{valkey_socket(broker)}",
        "TRAINER_COMMAND": json.dumps(COMMAND),
        "LEASE_SECONDS": 2,
        "HEARTBEAT_SECONDS": 0.5,
        "POLL_SECONDS": 0.1,
        "SWEEP_SECONDS": 0.5,
        "GRACE_SECONDS": 5,
    }
    for name, value in given.items():
        monkeypatch.setenv(f"IMPRINT_{name}", str(value))
    get_settings.cache_clear()
    queue.celery_app.cache_clear()
    yield dict(os.environ)
    queue.celery_app().close()
    get_settings.cache_clear()
    queue.celery_app.cache_clear()


@contextlib.contextmanager
def worker(env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process that is ready. Ended with SIGKILL, if it still runs at the end."""
    with log.open("ab") as output:
        begin = output.tell()
        command = [sys.executable, "-P", "-m", "worker"]
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: b"ready: 1 slot" in log.read_bytes()[begin:], "a worker that is ready")
        yield process
    finally:
        process.kill()
        process.wait()


def step(place: Workplace, job_id: str) -> int:
    return int((place.repository.get(job_id).progress or {}).get("step", 0))


def test_runs_each_job_once_however_often_it_is_woken(place: Workplace, broker: Path, env: dict[str, str]) -> None:
    with valkey(broker), worker(env, broker / "worker.log") as process:
        first, second = place.submit(steps=10), place.submit(steps=10)
        assert all(queue.enqueue(job_id) for job_id in (first, second, first, first, second))
        eventually(lambda: len(place.repository.list(status="succeeded").data) == 2, "two encoders")
        eventually(lambda: queue.pending() == 0, "an empty queue", 5)
        assert [place.repository.get(job_id).attempt for job_id in (first, second)] == [1, 1]
        assert place.history(first).count("running") == 1
        assert len(place.repository.encoders().data) == 2
        # One slot: the second began after the first had ended.
        ended = [event.at for event in place.repository.events(first).data if event.type == "succeeded"]
        began = [event.at for event in place.repository.events(second).data if event.type == "running"]
        assert ended <= began
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0


def test_sigterm_gives_the_job_back_and_the_next_worker_goes_on(place: Workplace, broker: Path, env: dict[str, str]) -> None:
    job_id = place.submit(steps=60, step_seconds=0.05, helper=True)
    with valkey(broker):
        with worker(env, broker / "worker.log") as process:
            queue.enqueue(job_id)
            eventually(lambda: step(place, job_id) >= 2, "the first steps")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0 and time.monotonic() - began < 4
            facts = place.facts(job_id)
            assert not alive(facts["pid"]) and not alive(facts["helper"])
            job = place.repository.get(job_id)
            assert job.status == "queued" and 2 <= step(place, job_id) < 60
        with worker(env, broker / "worker.log"):
            eventually(lambda: place.repository.get(job_id).status == "succeeded", "the end of the job")
    events = place.repository.events(job_id).data
    assert [event.data["why"] for event in events if event.type == "queued"] == ["shutdown"]
    assert [event.data["step"] for event in events if event.type == "resumed"] == [job.progress["step"]]  # type: ignore[index]


def test_a_worker_that_is_killed_is_replaced_by_the_sweep_of_another(place: Workplace, broker: Path, env: dict[str, str]) -> None:
    job_id = place.submit(steps=60, step_seconds=0.05)
    with valkey(broker):
        with worker(env, broker / "worker.log") as process:
            queue.enqueue(job_id)
            eventually(lambda: step(place, job_id) >= 2, "the first steps")
            process.kill()
            process.wait()
            eventually(lambda: not alive(place.facts(job_id)["pid"]), "the trainer's end", 5)
            assert place.repository.get(job_id).status == "running"  # nobody was left to say otherwise
        with worker(env, broker / "worker.log"):
            eventually(lambda: place.repository.get(job_id).status == "succeeded", "the end of the job")
    assert place.repository.get(job_id).attempt == 2 and "resumed" in place.history(job_id)


def test_a_job_submitted_while_the_broker_is_away_runs_when_it_is_back(
    place: Workplace, broker: Path, env: dict[str, str]
) -> None:
    log = broker / "worker.log"
    with valkey(broker), worker(env, log) as process:
        first = place.submit()
        queue.enqueue(first)
        eventually(lambda: place.repository.get(first).status == "succeeded", "a job before the outage")
        stop_broker(broker)
        began = time.monotonic()
        job_id = place.submit()
        assert queue.enqueue(job_id) is False and time.monotonic() - began < 3
        assert not queue.broker_alive()
        time.sleep(1)
        assert process.poll() is None and place.repository.get(job_id).status == "queued"
        with valkey(broker):
            assert queue.broker_alive()
            eventually(lambda: place.repository.get(job_id).status == "succeeded", "the job", 40)
        assert place.repository.get(job_id).attempt == 1


@pytest.mark.parametrize("command", [["-m", "worker"], ["-m", "celery", "-A", "worker.tasks", "worker", "-P", "threads"]])
def test_without_a_database_it_ends_and_says_so(command: list[str], broker: Path, env: dict[str, str]) -> None:
    """Rather than to work without a sweeper: Celery passes over what its start-up hooks raise."""
    away = {**env, "IMPRINT_DATABASE_URL": "postgresql://imprint@/imprint?host=/no/such/folder"}
    with valkey(broker):
        done = subprocess.run([sys.executable, "-P", *command], env=away, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "the worker ends, to be started again: the database does not answer" in done.stderr


def stop_broker(folder: Path) -> None:
    import redis

    with redis.Redis(unix_socket_path=str(valkey_socket(folder))) as client, contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)
    eventually(lambda: not valkey_socket(folder).exists(), "the end of the broker", 5)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_other_pools_are_not_used(pool: str, place: Workplace, broker: Path, env: dict[str, str]) -> None:
    """They could not hand the trainers' jobs back on SIGTERM. Celery takes its own default, prefork, for nothing chosen."""
    command = [sys.executable, "-P", "-m", "celery", "-A", "worker.tasks", "worker", "-P", pool, "-c", "1"]
    log = broker / "worker.log"
    with valkey(broker), log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
        try:
            if pool == "solo":
                assert process.wait(20) != 0 and b"-P threads" in log.read_bytes()
                return
            job_id = place.submit()
            queue.enqueue(job_id)
            eventually(lambda: place.repository.get(job_id).status == "succeeded", "the job")
            assert len(children(process.pid)) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
