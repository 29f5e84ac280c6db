"""A workplace with short times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import connect, migrate
from jobs.repository import Repository
from jobs.settings import Settings
from support.workplace import COMMAND, Workplace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    home = tmp_path / "home"
    settings = Settings(
        home=home,
        database_url=f"sqlite:///{home}/database/imprint.db",  # in a folder of its own, so that a test can take it away
        trainer_command=COMMAND,
        lease_seconds=5,
        heartbeat_seconds=0.5,
        poll_seconds=0.05,
        sweep_seconds=0.1,
        grace_seconds=5,
        cancel_grace_seconds=1,
        stall_seconds=30,
    )
    migrate(settings.database_url)
    database = connect(settings.database_url)
    yield Workplace(settings, Repository(database))
    database.engine.dispose()
