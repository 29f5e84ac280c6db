"""What `imprint up` will start, and whether it may: settings to checked child processes. Starts nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from imprint import broker
from imprint.child import Child
from imprint.errors import StackError
from jobs.settings import Settings
from jobs.uploads import is_full

API_PATIENCE = 25.0  # seconds; the API itself gives open requests 20
BROKER_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The stack's settings, and its children in the order in which they start."""

    settings: Settings
    home: Path
    data_root: Path
    address: str
    children: tuple[Child, ...]
    broker_socket: Path | None
    """None when IMPRINT_REDIS_URL names a broker of the user's own."""


def read_settings(**chosen: Any) -> Settings:
    """Settings from the environment, with what the command line chose on top (None: not chosen)."""
    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise StackError(f"IMPRINT_{name} = {first.get('input')!r}: {first['msg']}") from error


def make(settings: Settings) -> Plan:
    """Folders made, checks passed, commands ready. Raises StackError."""
    check_exposure(settings)
    home = prepare_home(settings)
    run, logs = home / "run", home / "logs"
    data_root = check_data_root(settings, home)

    path = None if os.environ.get("IMPRINT_REDIS_URL") else broker.socket_path(run)
    env = child_environment(
        {
            "IMPRINT_HOME": str(home),
            "IMPRINT_HOST": settings.host,
            "IMPRINT_PORT": str(settings.port),
            "IMPRINT_DATA_ROOT": str(data_root),
            "IMPRINT_INSECURE": str(int(settings.insecure)),
            **({"IMPRINT_REDIS_URL": broker.url(path)} if path else {}),
        }
    )
    python = [sys.executable, "-P", "-m"]  # -P: a folder called `api` where the user stands must not be taken for ours
    children = [
        Child("api", [*python, "api"], env, logs / "api.log", API_PATIENCE),
        # The worker gives each trainer grace_seconds to write its checkpoint, and then has to say so in the database.
        Child("worker", [*python, "worker"], env, logs / "worker.log", settings.grace_seconds + 10),
    ]
    if path:
        with _usable(home):
            config = broker.write_config(run, path, home / "broker")
        children.insert(
            0, Child("broker", [broker.binary(), str(config)], dict(os.environ), logs / "broker.log", BROKER_PATIENCE)
        )
    return Plan(settings, home, data_root, address(settings), tuple(children), path)


def prepare_home(settings: Settings) -> Path:
    """The home with its run and logs folders, made where they are missing. Raises StackError."""
    home = settings.home.resolve()
    with _usable(home):
        (home / "logs").mkdir(parents=True, exist_ok=True)
        broker.private_folder(home / "run")
    return home


@contextlib.contextmanager
def _usable(home: Path) -> Iterator[None]:
    """Raises StackError for what the system refuses."""
    try:
        yield
    except OSError as error:
        hint = "make room there, or choose another" if is_full(error) else "choose another"
        raise StackError(f"cannot use {home} as the home: {error.strerror}", f"{hint} with --home or IMPRINT_HOME") from error


def check_exposure(settings: Settings) -> None:
    """Beyond this machine only with keys, or on purpose."""
    if not settings.exposed or _keys_stored(settings):
        return
    raise StackError(
        f"IMPRINT_HOST = {settings.host!r} lets other machines in, and there are no API keys",
        "make one with `imprint keys create NAME`, or set IMPRINT_API_KEYS; or --insecure (IMPRINT_INSECURE=1), "
        "if everyone may do everything",
    )


def _keys_stored(settings: Settings) -> bool:
    from jobs.errors import Unavailable
    from jobs.keys import any_stored  # SQLAlchemy is imported where it is needed only

    try:
        return any_stored(settings.database_url)
    except Unavailable as error:
        raise StackError(f"whether there are API keys cannot be told: {error}", "set IMPRINT_API_KEYS") from error


def check_data_root(settings: Settings, home: Path) -> Path:
    """The folder of the user's pictures. Our own default is made; a folder that the user named must exist."""
    root = Path(settings.data_root).resolve()
    if root.is_relative_to(home):
        with _usable(home):
            root.mkdir(parents=True, exist_ok=True)
    if not root.is_dir():
        raise StackError(
            f"the data root {root} is not a folder", "name the folder of your pictures with --data or IMPRINT_DATA_ROOT"
        )
    return root


def check_port(settings: Settings) -> None:
    """Raises StackError, saying what to do, when the address cannot be listened on."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror as error:
        raise StackError(f"IMPRINT_HOST = {host!r} is not an address of this machine: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StackError(
                f"port {port} of {host} is in use, perhaps by another Imprint",
                f"choose another: imprint up --port {other_port(port)}",
            ) from error
        raise StackError(
            f"cannot listen on {host}, port {port}: {error.strerror}", "choose another with --host and --port"
        ) from error


def other_port(port: int) -> int:
    return port + 1 if port < 65535 else 8000


def address(settings: Settings) -> str:
    """Where this machine reaches the server: a server that listens everywhere is also on the loopback interface."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def child_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with the stack's settings, and a PYTHONPATH that finds this very code where it is not installed."""
    env = {**os.environ, **ours, "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).resolve().parent.parent
    if root.name not in ("site-packages", "dist-packages"):
        env["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return env
