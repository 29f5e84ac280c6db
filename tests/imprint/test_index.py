"""Index, search and report as a person and a program use them, against the real API in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
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
from jobs.records import EncoderDraft, JobDraft, ResultDraft
from jobs.repository import Repository
from jobs.settings import Settings
from support.vectors import clustered, write_vectors
from worker.supervisor import Supervisor

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
def repository(client: Client) -> Repository:
    home: Path = client.home  # type: ignore[attr-defined]
    return Repository(connect(f"sqlite:///{home / 'imprint.db'}"))


@pytest.fixture(scope="module")
def job(client: Client, repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An embed job that has succeeded, with an encoder (a record of one: vectors are searched here, no pictures)."""
    home: Path = client.home  # type: ignore[attr-defined]
    made = client.submit(data={"source": "digits"}).id
    claim = repository.claim(made, "test", 60)
    assert claim is not None
    folder = tmp_path_factory.mktemp("exported")
    (folder / "manifest.json").write_text("{}")
    published = Artifacts(home).publish(made, claim.attempt, folder)
    facts = {"arch": "resnet18", "dim": DIM, "method": "byol", "metrics": {}, "sha256": "0" * 64, "size_bytes": 2}
    encoder = repository.succeed(made, claim.attempt, EncoderDraft(folder=str(published), **facts))
    spec = {"encoder": encoder, "data": {"source": "folder", "path": "photos"}}
    embed = repository.create(JobDraft(name=None, kind="embed", method="embed", spec=spec)).id
    repository.claim(embed, "test", 60)
    names = [f"{row}.jpg" for row in range(COUNT)]
    vectors = write_vectors(home / "vectors" / f"{embed}.1", VECTORS, names, encoder=encoder)
    repository.finish(
        embed, 1, ResultDraft(str(vectors.relative_to(home)), {"images": COUNT, "errors": 0, "dim": DIM, "size_bytes": 1})
    )
    return embed


@pytest.fixture(autouse=True)
def worker(client: Client, repository: Repository) -> Iterator[None]:
    """A supervisor that takes up what is queued, with the real trainer."""
    home: Path = client.home  # type: ignore[attr-defined]
    stop = threading.Event()
    supervisor = Supervisor(repository, Settings(home=home, poll_seconds=0.1), stop)

    def work() -> None:
        while not stop.wait(0.1):
            for each in repository.list(status="queued", kind="index").data:
                supervisor.run(each.id)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join(60)


def test_from_python(client: Client, job: str) -> None:
    index = client.index("latest")
    with pytest.raises(NotFound, match="has no index"):
        index.search(VECTORS[0])
    with pytest.raises(Rejected, match="is not a job's id"):
        index.build("job_x")
    made = client.wait(index.build(job).id)
    assert made.raw["result"]["count"] == COUNT and index.status()["job"] == made.raw
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

    assert run("index", job).splitlines()[-1].startswith(f"{COUNT} pictures of enc_")
    assert json.loads(run("index", job, "--json"))["status"] == "succeeded"
    shown = run("report", "--threshold", "0.9999", "-n", "3").splitlines()
    assert shown[0] == "1 groups of near-duplicates (cosine from 0.9999), 1 pictures too many"
    assert [line.split()[-1] for line in shown[3:5]] == ["30.jpg", "31.jpg"] and len(shown) == 10
    run("report", "-o", str(tmp_path / "all.csv"))
    assert (tmp_path / "all.csv").read_text().startswith("path,group,nearest,distance")
    client.index("latest").remove()
    with pytest.raises(NotFound):
        client.index("latest").status()
