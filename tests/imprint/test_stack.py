"""`imprint up` as a person runs it: real processes, real signals."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imprint import broker, running
from imprint.child import Child
from imprint.client import Client

START = 60.0  # seconds; it takes two or three on a quiet machine
ALL = {"broker", "api", "worker"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Up:
    """An `imprint up` and what it said."""

    def __init__(self, home: Path, *options: str, **env: str) -> None:
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        self.port = free_port()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "imprint", "up", "--home", str(home), "--port", str(self.port), *options],
                env={**clean, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        return self.log.read_text()

    def ready(self) -> bool:
        return eventually(lambda: "Imprint is ready" in self.said or self.process.poll() is not None, START) and (
            self.process.poll() is None
        )

    def ended(self, seconds: float = START) -> int:
        return self.process.wait(seconds)

    def children(self) -> dict[str, int]:
        """name: process id."""
        kinds = {"valkey-server": "broker", "api": "api", "worker": "worker"}
        found = {}
        for pid in descendants(self.process.pid, depth=1):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            for sign, name in kinds.items():
                if re.search(rf"(-m {sign}\b|/{sign}\b)", command):
                    found[name] = pid
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(true: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


def descendants(pid: int, depth: int = 9) -> list[int]:
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [each for child in children if depth > 1 for each in descendants(child, depth - 1)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def clients(socket: Path) -> int:
    """Connections to a broker, the one that asks left out."""
    found = re.search(rb"connected_clients:(\d+)", broker.ask(socket, b"INFO clients\r\n"))
    return int(found[1]) - 1 if found else 0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    stack = Up(home)
    yield stack
    stack.close()


@linux
def test_a_life(up: Up, home: Path, tmp_path: Path) -> None:
    """Start, refuse a second one, mend a dead child, stop."""
    assert up.ready(), up.said
    assert set(up.children()) == ALL
    assert up.url in up.said and f"{up.url}/docs" in up.said and str(home / "data") in up.said
    note = running.read(home)
    assert note is not None and note.pid == up.process.pid and note.address == up.url
    with Client(up.url) as client:
        assert client.ready() and list(client.jobs()) == []

    same_home = Up(home)
    assert same_home.ended() == 1
    assert "already running" in same_home.said and up.url in same_home.said
    same_port = Up(tmp_path / "other", "--port", str(up.port))
    assert same_port.ended() == 1
    assert f"port {up.port}" in same_port.said and f"--port {up.port + 1}" in same_port.said
    assert not (tmp_path / "other" / "run" / "stack.json").exists()
    assert up.process.poll() is None

    before = up.children()
    os.kill(before["api"], signal.SIGKILL)
    assert eventually(lambda: up.children().get("api") not in (None, before["api"]), START)
    with Client(up.url) as client:
        assert eventually(client.ready, START)
    assert "api was killed by SIGKILL; starting it again" in up.said
    assert {name: pid for name, pid in up.children().items() if name != "api"} == {
        name: pid for name, pid in before.items() if name != "api"
    }

    family = descendants(up.process.pid)
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0, up.said
    assert not [pid for pid in family if alive(pid)]
    assert "stopped" in up.said and "killing" not in up.said
    assert running.read(home) is None and not (home / "run" / "valkey.sock").exists()


@linux
def test_sigkill_leaves_nothing_running(up: Up) -> None:
    assert up.ready(), up.said
    family = descendants(up.process.pid)
    assert len(family) >= 3
    up.process.kill()
    up.process.wait()
    assert eventually(lambda: not any(alive(pid) for pid in family)), [pid for pid in family if alive(pid)]


@linux
def test_a_broker_of_ones_own_is_used(home: Path, tmp_path: Path) -> None:
    run = broker.private_folder(tmp_path / "own")
    path = broker.socket_path(run)
    own = Child("own", [broker.binary(), str(broker.write_config(run, path, tmp_path / "data"))], os.environ, run / "log", 5.0)
    own.start()
    stack = Up(home, IMPRINT_REDIS_URL=broker.url(path))
    try:
        assert stack.ready(), stack.said
        assert set(stack.children()) == ALL - {"broker"}
        assert eventually(lambda: clients(path) >= 2)  # the API's and the worker's, besides our own
    finally:
        stack.close()
        own.kill()


class TestRefusals:
    """Each with a sentence and exit code 1, before anything is started."""

    def refused(self, home: Path, *options: str, **env: str) -> str:
        stack = Up(home, *options, **env)
        try:
            assert stack.ended() == 1
        finally:
            stack.close()
        assert "Traceback" not in stack.said and "starting" not in stack.said
        return stack.said

    def test_other_machines_without_keys(self, home: Path) -> None:
        said = self.refused(home, "--host", "0.0.0.0")
        assert (
            "IMPRINT_HOST = '0.0.0.0'" in said
            and "IMPRINT_API_KEYS" in said
            and "imprint keys create" in said
            and "IMPRINT_INSECURE=1" in said
        )

    def test_a_data_root_that_is_not_there(self, home: Path) -> None:
        assert "/no/such/folder is not a folder" in self.refused(home, "--data", "/no/such/folder")

    def test_a_malformed_setting_is_named(self, home: Path) -> None:
        assert "IMPRINT_GRACE_SECONDS" in self.refused(home, IMPRINT_GRACE_SECONDS="soon")

    def test_a_home_that_is_a_file(self, home: Path) -> None:
        home.write_text("")
        assert str(home) in self.refused(home)


def test_a_damaged_database_is_named_without_a_traceback(home: Path) -> None:
    home.mkdir()
    (home / "imprint.db").write_bytes(b"no database" * 1000)
    stack = Up(home)
    try:
        assert stack.ended() == 1
    finally:
        stack.close()
    assert "imprint.db is damaged" in stack.said and "Traceback" not in stack.said


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_is_named(home: Path, room: int) -> None:
    """None at all, or too little for whatever starts."""
    home.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "imprint-test", home], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()[:80]}")
    try:
        with (home / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            filler.write(b"1" * (2**20 - room))
            filler.write(b"1" * (2**20 - room))
        stack = Up(home)
        try:
            assert stack.ended() == 1
        finally:
            stack.close()
        assert "Traceback" not in stack.said and "make room there" in stack.said
    finally:
        subprocess.run(["umount", "--lazy", home], check=True)


def test_a_child_that_cannot_start_is_explained_with_its_log(home: Path) -> None:
    stack = Up(home, IMPRINT_DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing")
    try:
        assert stack.ended() == 1
    finally:
        stack.close()
    assert "ended with exit code" in stack.said and "the end of" in stack.said and "refused" in stack.said
