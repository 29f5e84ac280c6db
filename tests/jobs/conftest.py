"""A migrated database per test, on SQLite and on a real PostgreSQL; each copied from a template, so that tests are quick."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from jobs.database import connect, migrate
from jobs.records import Claim, EncoderDraft, JobDraft, JobRecord
from jobs.repository import Repository
from support.servers import NoServer, postgres

_PREFIX = "postgresql://imprint@/"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with every migration applied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL whose database `imprint` has every migration applied."""
    try:
        with postgres(tmp_path_factory.mktemp("postgres")) as url:
            migrate(url)
            yield url
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    if request.param == "sqlite":
        path = tmp_path / "imprint.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    template = request.getfixturevalue("postgres_server")
    name = "test_" + quote(tmp_path.name, safe="").replace("-", "_").replace(".", "_").lower()[-40:]
    admin = template.replace("/imprint?", "/postgres?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE imprint')
    yield template.replace("/imprint?", f"/{name}?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def repository(url: str) -> Iterator[Repository]:
    """A repository on the fresh database."""
    database = connect(url)
    yield Repository(database)
    database.engine.dispose()


@pytest.fixture
def submit(repository: Repository) -> Callable[..., JobRecord]:
    """submit(name="x", labels={…}, …) -> a queued job."""

    def make(**fields: Any) -> JobRecord:
        given: dict[str, Any] = {"name": None, "kind": "pretrain", "method": "simclr", "spec": {"data": {"source": "digits"}}}
        return repository.create(JobDraft(**{**given, **fields}))

    return make


@pytest.fixture
def running(repository: Repository, submit: Callable[..., JobRecord]) -> Callable[..., Claim]:
    """running() -> the claim of a job that a worker has just taken, with a lease of a minute."""

    def make(lease_seconds: float = 60, **fields: Any) -> Claim:
        claim = repository.claim(submit(**fields).id, "worker-1", lease_seconds)
        assert claim is not None
        return claim

    return make


def encoder_draft(folder: str = "/home/encoders/enc_x.1", **fields: Any) -> EncoderDraft:
    """An encoder as a supervisor describes it."""
    given: dict[str, Any] = {
        "arch": "resnet18",
        "dim": 512,
        "method": "simclr",
        "metrics": {"knn_top1": 93.5},
        "sha256": "0" * 64,
        "size_bytes": 44_000_000,
    }
    return EncoderDraft(folder=folder, **{**given, **fields})


@pytest.fixture
def draft() -> Callable[..., EncoderDraft]:
    return encoder_draft
