"""Connections, transactions and migrations, with several processes at once where it matters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from jobs.database import connect, migrate
from jobs.errors import Unavailable, Unusable
from jobs.models import Base
from jobs.records import JobDraft, JobRecord
from jobs.repository import Repository

CLAIM = """
import json, sys, time
from jobs.database import connect
from jobs.repository import Repository
repository = Repository(connect(sys.argv[1]))
repository.ping()
print("ready", flush=True)
sys.stdin.readline()
got = [job_id for job_id in json.loads(sys.argv[2]) if repository.claim(job_id, sys.argv[3], 60)]
print(json.dumps(got), flush=True)
"""
MIGRATE = """
import sys, tempfile
import alembic.autogenerate, alembic.command, alembic.ddl.impl, alembic.runtime.environment, psycopg, pysqlite3.dbapi2
import jobs.models
from jobs.database import connect, migrate
migrate(f"sqlite:///{tempfile.mkdtemp()}/warm.db")  # everything is imported and compiled: from here on it is a race
print("ready", flush=True)
sys.stdin.readline()
migrate(sys.argv[1])
print("done", flush=True)
"""


def together(program: str, arguments: list[list[str]], cwd: Path | None = None) -> list[str]:
    """Run the program in several processes that begin at the same moment; what each printed last."""
    command = [sys.executable, "-P", "-c", program]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": cwd}
    processes = [subprocess.Popen([*command, *each], **pipes) for each in arguments]  # type: ignore[call-overload]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said


def test_every_job_is_claimed_exactly_once(url: str, repository: Repository, submit: Callable[..., JobRecord]) -> None:
    ids = [submit().id for _ in range(25)]
    arguments = [[url, json.dumps(ids), f"w{number}"] for number in range(4)]
    got = [job_id for said in together(CLAIM, arguments) for job_id in json.loads(said)]
    assert sorted(got) == ids
    assert all(repository.get(job_id).attempt == 1 for job_id in ids)


class TestMigrations:
    def test_by_several_processes_at_once(self, tmp_path: Path, request: pytest.FixtureRequest) -> None:
        """The API and the workers start at the same time; run from a folder that is not the checkout."""
        url = f"sqlite:///{tmp_path}/new/imprint.db"
        assert together(MIGRATE, [[url]] * 3, cwd=tmp_path) == ["done\n"] * 3
        database = connect(url)
        assert Repository(database).ping()
        assert set(inspect(database.engine).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
        database.engine.dispose()

    def test_by_several_processes_at_once_on_postgresql(self, postgres_server: str, tmp_path: Path) -> None:
        import psycopg

        with psycopg.connect(postgres_server.replace("/imprint?", "/postgres?"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE at_once")
        url = postgres_server.replace("/imprint?", "/at_once?")
        assert together(MIGRATE, [[url]] * 3, cwd=tmp_path) == ["done\n"] * 3

    def test_give_the_tables_of_the_models(self, url: str) -> None:
        """A change of a model without a migration is found here."""
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        database = connect(url)
        with database.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        database.engine.dispose()

    def test_can_be_taken_back(self, tmp_path: Path) -> None:
        from alembic import command

        from jobs.database import alembic_config

        url = f"sqlite:///{tmp_path}/imprint.db"
        migrate(url)
        migrate(url)  # again is nothing
        database = connect(url)
        command.downgrade(alembic_config(database.engine), "base")
        assert inspect(database.engine).get_table_names() == ["alembic_version"]
        database.engine.dispose()

    def test_of_a_newer_version_are_left_alone(self, url: str) -> None:
        database = connect(url)
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Unusable, match="a newer version of Imprint made the database"):
            migrate(url)
        with database.read() as session:
            assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
        database.engine.dispose()

    def test_of_what_is_no_database(self, tmp_path: Path) -> None:
        file = tmp_path / "imprint.db"
        file.write_bytes(b"no database" * 1000)
        with pytest.raises(Unusable, match=r"imprint\.db is damaged, or no database"):
            migrate(f"sqlite:///{file}")
        assert file.read_bytes() == b"no database" * 1000


class TestSQLite:
    def test_is_as_durable_as_it_says(self, tmp_path: Path) -> None:
        database = connect(f"sqlite:///{tmp_path}/imprint.db")
        with database.read() as session:
            version = tuple(int(part) for part in session.execute(text("SELECT sqlite_version()")).scalar_one().split("."))
            names = ("journal_mode", "synchronous", "foreign_keys")
            asked = {name: session.execute(text(f"PRAGMA {name}")).scalar_one() for name in names}
        assert asked == {"journal_mode": "wal" if version >= (3, 51, 3) else "delete", "synchronous": 2, "foreign_keys": 1}
        database.engine.dispose()

    def test_avoids_wal_where_the_library_can_corrupt_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from pysqlite3 import dbapi2

        monkeypatch.setattr(dbapi2, "sqlite_version_info", (3, 51, 2))
        database = connect(f"sqlite:///{tmp_path}/imprint.db")
        with database.read() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "delete"
        database.engine.dispose()

    def test_a_writer_waits_for_another(self, tmp_path: Path) -> None:
        """Read, think, write: begun as a reader, the second of two would be refused with "database is locked"."""
        url = f"sqlite:///{tmp_path}/imprint.db"
        program = """
import sys, time
from sqlalchemy import text
from jobs.database import connect
database = connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    with database.write() as session:
        count = session.execute(text("SELECT n FROM counter")).scalar_one()
        time.sleep(0.002)
        session.execute(text("UPDATE counter SET n = :n"), {"n": count + 1})
print("done", flush=True)
"""
        database = connect(url)
        with database.write() as session:
            session.execute(text("CREATE TABLE counter (n INTEGER)"))
            session.execute(text("INSERT INTO counter VALUES (0)"))
        together(program, [[url]] * 3)
        with database.read() as session:
            assert session.execute(text("SELECT n FROM counter")).scalar_one() == 60
        database.engine.dispose()

    def test_readers_do_not_wait_for_a_writer(self, tmp_path: Path) -> None:
        database = connect(f"sqlite:///{tmp_path}/imprint.db")
        with database.write() as session:
            session.execute(text("CREATE TABLE t (n INTEGER)"))
        with database.write() as writer:
            writer.execute(text("INSERT INTO t VALUES (1)"))
            with database.read() as reader:
                assert reader.execute(text("SELECT count(*) FROM t")).scalar_one() == 0
        database.engine.dispose()


def test_what_fails_in_a_transaction_is_taken_back(repository: Repository, submit: Callable[..., JobRecord]) -> None:
    job = submit()
    with pytest.raises(ZeroDivisionError), repository.database.write() as session:
        session.execute(text("UPDATE jobs SET status = 'failed'"))
        raise ZeroDivisionError
    assert repository.get(job.id) == job


def test_foreign_keys_hold(repository: Repository) -> None:
    insert = text("INSERT INTO aliases (name, encoder_id, updated_ms) VALUES ('x', 'nobody', 1)")
    with pytest.raises(IntegrityError), repository.database.write() as session:
        session.execute(insert)


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/imprint.db", "postgresql://imprint@/imprint?host=/no/such/folder"])
def test_a_database_that_is_away_is_unavailable(url: str) -> None:
    database = connect(url)
    with pytest.raises(Unavailable):
        Repository(database).ping()
    database.engine.dispose()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
class TestPostgreSQL:
    def test_lets_go_of_a_lock_whose_holder_is_lost(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker that was frozen, or cut off, within a transaction: nobody else may have to wait for it for hours."""
        monkeypatch.setattr("jobs.database._IDLE_MS", 500)
        lost, swept = Repository(connect(url)), Repository(connect(url))
        job = lost.create(JobDraft(None, "pretrain", "simclr", {}))
        assert lost.claim(job.id, "lost", 0.01) is not None
        with pytest.raises(Unavailable), lost.database.write() as session:
            session.execute(text("SELECT id FROM jobs WHERE id = :id FOR UPDATE"), {"id": job.id})
            assert swept.expire_leases(3) == [], "its row is locked"
            time.sleep(1)  # the machine is gone
            assert swept.expire_leases(3) == [job.id]
            session.execute(text("SELECT 1"))
        assert swept.get(job.id).status == "queued"
        for repository in (lost, swept):
            repository.database.engine.dispose()

    @pytest.mark.parametrize(("rested", "failures"), [(0.0, 0), (1e9, 1)])
    def test_connections_that_the_server_has_closed(
        self, url: str, monkeypatch: pytest.MonkeyPatch, rested: float, failures: int
    ) -> None:
        """Those that have rested are asked first; else one request meets it, and no other: all old ones go with it."""
        monkeypatch.setattr("jobs.database._RESTED", rested)
        database, other = connect(url), connect(url)
        repository = Repository(database)
        with ThreadPoolExecutor(4) as threads:
            gate = threading.Barrier(4)

            def hold(_: int) -> None:
                with database.read() as session:
                    session.execute(text("SELECT 1"))
                    gate.wait()

            list(threads.map(hold, range(4)))
        with other.write() as session:
            closed = session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"))
            assert len(closed.all()) >= 4
        unavailable = 0
        for _ in range(6):
            try:
                repository.ping()
            except Unavailable:
                unavailable += 1
        assert unavailable == failures
        for each in (database, other):
            each.engine.dispose()

    def test_without_a_free_connection_is_unavailable(self, url: str) -> None:
        """As when all of them wait for a database that neither answers nor refuses."""
        database = connect(url)
        pool = database.engine.pool
        assert isinstance(pool, QueuePool)
        pool._timeout = 0.1
        taken = [database.engine.connect() for _ in range(20)]
        with pytest.raises(Unavailable, match="no connection is free"):
            Repository(database).ping()
        for connection in taken:
            connection.close()
        assert Repository(database).ping()
        database.engine.dispose()


def test_a_read_on_postgresql_is_no_transaction(url: str) -> None:
    """Two messages less for each; what writes is one as ever."""
    database = connect(url)
    asked = text("SELECT now() <> statement_timestamp()")  # now() is the beginning of the transaction

    def began_before(session: Session) -> bool:
        session.execute(text("SELECT pg_sleep(0.01)"))
        return bool(session.scalar(asked))

    if database.engine.dialect.name != "postgresql":
        pytest.skip("of PostgreSQL only")
    with database.read() as session:
        assert not began_before(session)
    with database.write() as session:
        assert began_before(session)
    with database.read() as session:
        assert not began_before(session), "the connection, used again"
    database.engine.dispose()


def test_other_kinds_are_refused_with_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"sqlite:///… or postgresql://…"):
        connect("mysql://localhost/imprint")


def test_the_clock_is_the_database_s(repository: Repository) -> None:
    with repository.database.read() as session:
        assert abs(repository.database.now_ms(session) / 1000 - time.time()) < 2


def test_nothing_of_this_needs_the_machine_s_own_sqlite() -> None:
    """Many Pythons link a version whose WAL mode can corrupt."""
    program = (
        "import sys; sys.modules['sqlite3'] = None; import jobs.database; jobs.database.connect('sqlite://').engine.connect()"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True, env=dict(os.environ))
