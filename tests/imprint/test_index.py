"""Index, search and report as a person and a program use them, against the real API in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.client import Client
from imprint.errors import NotFound, Rejected
from jobs.artifacts import Artifacts
from jobs.database import connect
from jobs.records import EncoderDraft
from jobs.repository import Repository
from support.vectors import clustered, write_vectors

COUNT, DIM = 40, 16
VECTORS = clustered(COUNT, DIM)
VECTORS[30] = VECTORS[31]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
    env = {**clean, "IMPRINT_HOME": str(home), "IMPRINT_PORT": str(port)}
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "api"], env=env, stdout=log, stderr=subprocess.STDOUT)
    try:
        with Client(f"http://127.0.0.1:{port}") as connected:
            deadline = time.monotonic() + 60
            while not connected.ready() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.1)
            connected.home = home  # type: ignore[attr-defined]
            yield connected
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def job(client: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job with an encoder (a record of one: vectors are searched here, no pictures) and with vectors."""
    home: Path = client.home  # type: ignore[attr-defined]
    made = client.submit(data={"source": "digits"}).id
    repository = Repository(connect(f"sqlite:///{home / 'imprint.db'}"))
    claim = repository.claim(made, "test", 60)
    assert claim is not None
    folder = tmp_path_factory.mktemp("exported")
    (folder / "manifest.json").write_text("{}")
    published = Artifacts(home).publish(made, claim.attempt, folder)
    facts = {"arch": "resnet18", "dim": DIM, "method": "byol", "metrics": {}, "sha256": "0" * 64, "size_bytes": 2}
    repository.succeed(made, claim.attempt, EncoderDraft(folder=str(published), **facts))
    names = [f"{row}.jpg" for row in range(COUNT)]
    write_vectors(home / "vectors" / f"{made}.1", VECTORS, names, encoder=made.replace("job_", "enc_"))
    return made


def test_from_python(client: Client, job: str) -> None:
    index = client.index("latest")
    with pytest.raises(NotFound, match="has no index"):
        index.search(VECTORS[0])
    with pytest.raises(Rejected, match="there is no job"):
        index.build("job_x")
    assert index.build(job)["index"]["count"] == COUNT
    found = index.search(VECTORS[7], k=3)
    assert found[0].path == "7.jpg" and found[0].score == pytest.approx(1, abs=1e-3) and len(found) == 3
    groups = index.report(0.9999)["duplicates"]
    assert [[each["path"] for each in group["data"]] for group in groups["data"]] == [["30.jpg", "31.jpg"]]
    assert index.report_csv().count(b"\n") == COUNT + 1
    assert np.isfinite([each["distance"] for each in index.report()["outliers"]["data"]]).all()


def test_from_the_command_line(client: Client, job: str, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        ended = CliRunner().invoke(app, ["--server", client.base_url, *words], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    assert run("index", job).startswith(f"{COUNT} pictures of enc_")
    assert json.loads(run("index", job, "--json"))["status"] == "ready"
    shown = run("report", "--threshold", "0.9999", "-n", "3").splitlines()
    assert shown[0] == "1 groups of near-duplicates (cosine from 0.9999), 1 pictures too many"
    assert [line.split()[-1] for line in shown[3:5]] == ["30.jpg", "31.jpg"] and len(shown) == 10
    run("report", "-o", str(tmp_path / "all.csv"))
    assert (tmp_path / "all.csv").read_text().startswith("path,group,nearest,distance")
    client.index(job).remove()
    with pytest.raises(NotFound):
        client.index(job).status()
