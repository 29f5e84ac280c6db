"""The client against the real API: a process of its own, without broker and worker, so that jobs stay queued."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.client import Client
from imprint.errors import Conflict, ImprintError, JobFailed, NotAllowed, NotFound, Rejected

DIGITS = {"source": "digits"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMPRINT_")}
    env = {**clean, "IMPRINT_HOME": str(home), "IMPRINT_PORT": str(port), "IMPRINT_API_KEYS": "open-sesame"}
    log = (home / "api.log").open("wb")
    process = subprocess.Popen([sys.executable, "-m", "api"], env=env, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        with Client(address) as client:
            deadline = time.monotonic() + 60
            while not client.ready() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.1)
            assert client.ready(), (home / "api.log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, "open-sesame") as connected:
        yield connected


def test_a_job_is_created_once_for_a_key(client: Client) -> None:
    first = client.submit(idempotency_key="the-same", name="twice", data=DIGITS)
    again = client.submit(idempotency_key="the-same", name="twice", data=DIGITS)
    assert first.id == again.id and first.status == "queued" and first.name == "twice"
    assert first.created_at is not None and first.created_at.tzinfo is not None
    assert first.epochs and first.method
    assert client.job(first.id) == client.job(again.id)


def test_jobs_are_listed_newest_first_over_pages_and_by_label(client: Client) -> None:
    made = [client.submit(data=DIGITS, labels={"set": "pages"}).id for _ in range(3)]
    assert [job.id for job in client.jobs(labels={"set": "pages"})] == made[::-1]
    assert [job.id for job in client.jobs(labels={"set": "pages"}, limit=2)] == made[:0:-1]
    assert next(client.jobs(status="queued")).id == made[-1]


def test_cancelling_and_what_cannot_be_done_after_it(client: Client) -> None:
    job = client.submit(data=DIGITS)
    assert client.cancel(job.id).status == "cancelled"
    with pytest.raises(Conflict, match="cancelled"):
        client.pause(job.id)
    with pytest.raises(JobFailed) as caught:
        client.wait(job.id)
    assert caught.value.job.id == job.id
    assert client.wait(job.id, check=False).status == "cancelled"
    assert [event.type for event in client.events(job.id)] and client.logs(job.id) == ""
    assert list(client.metrics(job.id, "train_loss")) == []
    assert client.resume(job.id).status == "queued"
    with pytest.raises(TimeoutError, match="still queued"):
        client.wait(job.id, timeout=0.05, every=0.05)
    client.cancel(job.id)


def test_validating_creates_nothing(client: Client) -> None:
    before = [job.id for job in client.jobs()]
    answer = client.validate(data=DIGITS, trainer={"max_epochs": 3})
    assert answer.spec["trainer"]["max_epochs"] == 3 and answer.data["images"] == 1437
    assert [job.id for job in client.jobs()] == before


def test_every_wrong_field_is_named(client: Client) -> None:
    with pytest.raises(Rejected) as caught:
        client.submit(data=DIGITS, trainer={"max_epochs": 0}, encoder={"arch": "resnet19"})
    pointers = {problem.pointer for problem in caught.value.problems}
    assert {"/trainer/max_epochs", "/encoder/arch"} <= pointers
    assert "resnet18" in str(caught.value)


def test_unknown_things_are_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.job("job_00000000000000000000000000")
    with pytest.raises(ImprintError, match="no encoder 'latest'"):
        client.encoder("latest")
    assert list(client.encoders()) == []


def test_without_the_key_nothing_is_told(url: str) -> None:
    with Client(url) as stranger, pytest.raises(NotAllowed) as caught:
        list(stranger.jobs())
    assert "IMPRINT_API_KEY" in caught.value.hint


def test_the_command_against_the_real_thing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMPRINT_API_KEY", "open-sesame")
    monkeypatch.setenv("IMPRINT_SERVER", url)
    run = CliRunner()
    checked = run.invoke(app, ["train", "digits", "--epochs", "2", "--validate-only"])
    assert checked.exit_code == 0 and "1437 images" in checked.stdout
    sent = run.invoke(app, ["train", "digits", "--name", "by-hand", "--detach"])
    assert sent.exit_code == 0
    job = sent.stdout.split()[0]
    listed = run.invoke(app, ["jobs", "-n", "1"])
    assert job in listed.stdout and "by-hand" in listed.stdout
    assert run.invoke(app, ["cancel", job]).stdout.strip() == f"{job} cancelled"
    wrong = run.invoke(app, ["train", "digits", "--set", "trainer.max_epochz=2"])
    assert isinstance(wrong.exception, Rejected) and "max_epochs" in str(wrong.exception)
