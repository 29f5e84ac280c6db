"""The place for races that need many trials: supervisors in threads of this process; trainers, as always, of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from jobs.database import connect, migrate
from jobs.ids import encoder_id
from jobs.repository import Repository
from jobs.settings import Settings
from support.workplace import COMMAND, Workplace


@contextlib.contextmanager
def inside(folder: Path, url: str = "") -> Iterator[Workplace]:
    settings = Settings(
        home=folder / "home",
        database_url=url,
        trainer_command=COMMAND,
        lease_seconds=2,
        heartbeat_seconds=0.2,
        poll_seconds=0.02,
        grace_seconds=5,
        cancel_grace_seconds=2,
        stall_seconds=60,
    )
    migrate(settings.database_url)
    database = connect(settings.database_url)
    try:
        yield Workplace(settings, Repository(database))
    finally:
        database.engine.dispose()


@contextlib.contextmanager
def runs_what_is_queued(place: Workplace, job_id: str) -> Iterator[None]:
    """A supervisor that takes the job whenever it is queued, as a worker would, until the block ends."""
    end = threading.Event()

    def work() -> None:
        while not end.wait(0.005):
            place.run(job_id)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join(60)
    assert not thread.is_alive()


def assert_one_end(place: Workplace, job_id: str, steps: int) -> str:
    """Exactly one legal end, with all that belongs to it and nothing else; returns which."""
    job = place.repository.get(job_id)
    history = place.history(job_id)
    made = [encoder for encoder in place.repository.encoders(limit=100).data if encoder.job_id == job_id]
    assert (job.requested, job.error) == (None, None)
    assert history.count("succeeded") == len(made) == (job.status == "succeeded"), (job.status, history)
    assert job.encoder_id == (encoder_id(job_id) if made else None)
    if made:
        found = place.settings.home / made[0].folder / "model.safetensors"
        assert found.read_bytes() == b"weights after step %d" % steps
        assert history[-1] == "succeeded", history
    return job.status
