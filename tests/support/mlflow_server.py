"""A real MLflow server on loopback, with SQLite below a folder.

MLflow pins versions of much that we use, so it lives in an environment of its own: IMPRINT_TEST_MLFLOW names its `mlflow`
command, or it is the one on the PATH.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx

from support.composed import free_port
from support.processes import eventually


class NoMLflow(Exception):
    """There is none here; the reason to skip with."""


@contextlib.contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address, once it answers. Raises NoMLflow."""
    command = os.environ.get("IMPRINT_TEST_MLFLOW") or shutil.which("mlflow")
    if not command:
        raise NoMLflow("MLflow is not installed (neither IMPRINT_TEST_MLFLOW nor mlflow on the PATH)")
    port = free_port()
    where = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")]
    words = [command, "server", *where, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    with (folder / "mlflow.log").open("wb") as output:
        process = subprocess.Popen(words, stdout=output, stderr=output, cwd=folder, env=inherited, start_new_session=True)
    try:
        eventually(lambda: _answers(port), "MLflow answers", 90)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
