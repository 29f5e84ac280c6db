"""Engine and transactions, for SQLite and PostgreSQL, and the migration at start.

SQLite comes from pysqlite3, whose library is free of the WAL-reset bug that many Python builds link
(docs/decisions/0007-sqlite-build.md); with an older library the rollback journal is used instead of WAL.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Executable, Row, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.sql.base import ExecutableOption

from jobs.errors import Deadlock, Unavailable, Unusable
from jobs.together import Together

if TYPE_CHECKING:
    from alembic.config import Config  # imported late: it takes a tenth of a second of the API's start

T = TypeVar("T")
audit = logging.getLogger("audit")
_BUSY_MS = 15_000
_RESTED = 2.0  # seconds
_IDLE_MS = 15_000  # our transactions are a few statements, never a pause
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
_MIGRATION_LOCK = 0x1_49_4D_50  # any constant: the key of PostgreSQL's advisory lock


class _Session(Session):
    """A session whose every SELECT has the database's options; rows that these filter out are not there for it."""


@event.listens_for(_Session, "do_orm_execute")
def _filtered(state: ORMExecuteState) -> None:
    options = state.session.info.get("options")
    if options and state.is_select:
        state.statement = state.statement.options(*options)


def told_at_commit(session: Session, message: str, about: dict[str, Any]) -> None:
    """Log a change with who and why when, and if, it is committed."""
    session.info.setdefault("changes", []).append((message, about))


@event.listens_for(_Session, "after_commit")
def _tell(session: Session) -> None:
    for message, about in session.info.pop("changes", ()):
        audit.info("%s", message, extra={"about": about})


class Database:
    """Hands out transactions."""

    def __init__(self, engine: Engine, options: Sequence[ExecutableOption] = (), of: Database | None = None) -> None:
        """options: added to every SELECT, see `access.seen_by`. of: the same without them."""
        self.engine = engine
        self._whole = of or self
        self._group: Together = of._group if of else Together()
        self._turn: threading.Lock | None = engine.get_execution_options().get("imprint_turn")
        self._reading = engine.execution_options(imprint_reads=True, **_reads_as(engine))
        self._info = {"options": tuple(options)}

    def only(self, options: Sequence[ExecutableOption]) -> Database:
        """The same database, seen through these options."""
        return Database(self.engine, options, self._whole) if options else self

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block and rolls back on an exception. Raises Unavailable."""
        with _unavailable(), self._own_turn(), _Session(self.engine, info=dict(self._info)) as session, session.begin():
            yield session

    def together(self, work: Callable[[Session], T]) -> T:
        """`work` in a transaction that it may share with others' and that sees everything; may be called twice. Raises what work
        raises, and Unavailable."""
        return self._group.run(self._whole.write, work)

    @contextlib.contextmanager
    def _own_turn(self) -> Iterator[None]:
        """On SQLite the threads of a process write one after the other: its own waiting is by polls of up to 100 ms."""
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=_BUSY_MS / 1000):
            raise Unavailable("the database does not answer: another thread has been writing for too long")
        try:
            yield
        finally:
            self._turn.release()

    @contextlib.contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction that does not lock out writers. Raises Unavailable."""
        with _unavailable(), _Session(self._reading, info=self._info) as session:
            yield session

    def first(self, query: Executable) -> Row[Any] | None:
        """The first row of one query, in half the time that a session takes. Raises Unavailable."""
        if self._info["options"]:
            query = query.options(*self._info["options"])
        with _unavailable(), self._reading.connect() as connection:
            return connection.execute(query).first()

    @staticmethod
    def one_at_a_time(session: Session, what: str) -> None:
        """Until its end no other transaction that says the same goes on. (SQLite has one writer at a time anyway.)"""
        if session.get_bind().dialect.name == "postgresql":
            session.connection().execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"), {"what": what})

    @staticmethod
    def now_ms(session: Session) -> int:
        """Milliseconds since 1970 by the database's clock, the only one that leases are measured with."""
        sqlite = session.get_bind().dialect.name == "sqlite"
        query = (
            "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
            if sqlite
            else "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
        )
        return int(session.connection().execute(text(query)).scalar_one())


def _reads_as(engine: Engine) -> dict[str, str]:
    """PostgreSQL sees each statement's own moment anyway (READ COMMITTED): a transaction around them only costs two messages."""
    return {"isolation_level": "AUTOCOMMIT"} if engine.dialect.name == "postgresql" else {}


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == "40P01":
            raise Deadlock("the database does not answer: two transactions waited for each other") from error
        raise Unavailable(f"the database does not answer: {str(error.orig).splitlines()[0]}") from error
    except PoolTimeout as error:  # every connection waits for a database that neither answers nor refuses
        raise Unavailable("the database does not answer: no connection is free") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise Unavailable("the connection to the database was lost") from error
        raise


def connect(url: str) -> Database:
    """A database by its URL: sqlite:///… or postgresql://…. Connects when it is first used."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Database(_sqlite(parsed))
    if parsed.get_backend_name() == "postgresql":
        return Database(_postgres(parsed.set(drivername="postgresql+psycopg")))
    raise ValueError(f"IMPRINT_DATABASE_URL = {parsed.render_as_string(hide_password=True)!r}: use sqlite:///… or postgresql://…")


def _postgres(url: URL) -> Engine:
    """Both sides let go of what is dead: we of a server that the network has lost, the server of a client that holds a lock.

    A worker whose machine is lost between two statements would otherwise keep its job's row locked, out of reach of every sweep,
    until TCP gives up on it after two hours.
    """
    engine = create_engine(url, pool_size=10, pool_timeout=10, connect_args=_NETWORK)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_MS}")
        connection.execute(f"SET lock_timeout = {_BUSY_MS}")
        connection.commit()

    @event.listens_for(engine, "checkin")
    def rested(connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def awake(connection: Any, record: ConnectionPoolEntry, proxy: Any) -> None:
        """What has rested may have been closed meanwhile. To ask each time would double the messages of a short request: that a
        server was started again is noticed by the first who meet it, and then no old connection is used any more."""
        if time.monotonic() - record.info.get("rests_since", math.inf) > _RESTED:
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError(str(error)) from error

    return engine


def _sqlite(url: Any) -> Engine:
    from pysqlite3 import dbapi2

    wal = dbapi2.sqlite_version_info >= (3, 51, 3)
    engine = create_engine(url, module=dbapi2, connect_args={"timeout": _BUSY_MS / 1000, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are ours: the driver would begin them late
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        cursor.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that begins as a reader can be refused half-way; one that begins as a writer waits its turn.
        reads = connection.get_execution_options().get("imprint_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine.execution_options(imprint_turn=threading.Lock())


def migrate(url: str) -> None:
    """Bring the schema up to date. Safe when several processes start at once: one migrates, the others wait. Raises Unavailable,
    and Unusable.
    """
    database = connect(url)
    try:
        with _unavailable():
            if database.engine.dialect.name == "sqlite":
                path = Path(str(database.engine.url.database))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.with_name(path.name + ".migration-lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    _upgrade(database.engine)
            else:
                with database.engine.connect() as connection, connection.begin():
                    connection.execute(text("SET LOCAL lock_timeout = 0"))  # another's migration may take its time
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                    _upgrade(database.engine)
    finally:
        database.engine.dispose()


def alembic_config(engine: Engine) -> Config:
    """What Alembic's commands need; the scripts are found as a package, in a checkout and in an installation alike."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "migrations:")
    config.set_main_option("path_separator", "os")
    config.attributes["engine"] = engine
    return config


def _upgrade(engine: Engine) -> None:
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(alembic_config(engine), "head")
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        text = "a newer version of Imprint made the database: start that one, or restore the backup from before the upgrade"
        raise Unusable(text) from error
    except DatabaseError as error:
        if isinstance(error, OperationalError) or engine.dialect.name != "sqlite":
            raise
        text = f"{engine.url.database} is damaged, or no database: {error.orig}; restore it from a backup"
        raise Unusable(text) from error
