"""The client against the real API: a process of its own, without broker and worker, so that jobs stay queued."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from imprint.cli import app
from imprint.client import Client
from imprint.errors import Conflict, ImprintError, JobFailed, NotAllowed, NotFound, Rejected

DIGITS = {"source": "digits"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
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


def publish_encoder(home: Path, job_id: str, scratch: Path) -> str:
    """What a worker does at the end of a job, with random weights: its id is the job's with another prefix."""
    from jobs.artifacts import Artifacts
    from jobs.database import connect
    from jobs.records import EncoderDraft
    from jobs.repository import Repository
    from ssl_core.encoders import build_encoder
    from ssl_core.export import export_encoder
    from ssl_core.spec import DigitsData, TrainSpec

    spec = TrainSpec(data=DigitsData(size=32, mean=(0.5,), std=(0.25,)))
    facts = {"source": "digits", "images": 1437, "fingerprint": "sha256:0", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    seen = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    exported = export_encoder(build_encoder("resnet18", 32, "imagenet").eval(), spec, facts, {"knn_top1": 50.0}, scratch, seen)
    repository = Repository(connect(f"sqlite:///{home / 'imprint.db'}"))
    claim = repository.claim(job_id, "test", 60)
    assert claim is not None
    folder = Artifacts(home).publish(job_id, claim.attempt, exported)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
    repository.succeed(job_id, claim.attempt, EncoderDraft(folder=str(folder), **known))
    return job_id.replace("job_", "enc_")


def pictures(count: int) -> list[bytes]:
    """PNG files of noise, no two alike."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        buffer = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, format="PNG")
        found.append(buffer.getvalue())
    return found


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


def test_a_preview_of_a_spec_and_of_a_job(client: Client, home: Path) -> None:
    """The first preview makes the server import torch."""
    with Image.open(io.BytesIO(client.preview(data=DIGITS, images=2))) as sheet:
        assert sheet.format == "PNG" and sheet.width > 500
    job = client.submit(data=DIGITS)
    with pytest.raises(NotFound, match="has no sheet"):
        client.preview(job.id)
    with pytest.raises(Rejected) as caught:
        client.preview(data={"source": "folder", "path": "nowhere"})
    assert [each.pointer for each in caught.value.problems] == ["/data/path"]


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


def test_embedding(client: Client, url: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs after the tests that expect no encoder. One test, since loading torch in the API process takes seconds."""
    job = client.submit(data=DIGITS)
    encoder = publish_encoder(home, job.id, tmp_path / "exported")
    assert client.wait(job.id).encoder == encoder
    assert [each.id for each in client.encoders()] == [encoder]
    client.set_alias("mine", job.id)
    for name in (encoder, job.id, "mine", "latest"):
        assert client.encoder(name).id == encoder
    assert client.encoder().dim == 512 and client.encoder().metrics == {"knn_top1": 50.0}

    # Rows are in the order of the images, whatever the batches and the form of the image.
    files = pictures(7)
    (tmp_path / "one.png").write_bytes(files[1])
    mixed = [files[0], tmp_path / "one.png", *files[2:6], Image.open(io.BytesIO(files[6]))]
    vectors = client.embed(mixed, "mine", batch_size=3)
    assert vectors.shape == (7, 512) and vectors.dtype == np.float32
    backwards = client.embed(files[::-1], encoder)
    assert np.allclose(vectors, backwards[::-1], atol=1e-4)
    assert len(np.unique(vectors.round(5), axis=0)) == 7

    short = client.embed(files, encoder, dimensions=3, normalize=True)
    assert short.shape == (7, 3) and np.allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)
    assert client.embed(files[:2], layer="patch").shape == (2, 1, 1, 512)

    with pytest.raises(Rejected, match="not a picture"):
        client.embed([files[0], b"text"])
    answers = list(client.embed_each([files[0], b"text", tmp_path / "gone.png", files[1]], batch_size=2))
    assert [answer.error is None for answer in answers] == [True, False, False, True]
    assert answers[1].error is not None and answers[1].error.startswith("not a picture")
    assert answers[0].vector is not None and np.allclose(answers[0].vector, vectors[0], atol=1e-4)
    assert answers[3].vector is not None and np.allclose(answers[3].vector, vectors[1], atol=1e-4)

    with zipfile.ZipFile(client.download("latest", tmp_path / "encoder.zip")) as archive:
        assert {"manifest.json", "model.safetensors", "openvino.xml"} <= set(archive.namelist())

    (tmp_path / "folder").mkdir()
    for number, content in enumerate([*files[:3], b"broken"]):
        (tmp_path / "folder" / f"{number}.png").write_bytes(content)
    monkeypatch.setenv("IMPRINT_API_KEY", "open-sesame")
    command = ["embed", str(tmp_path / "folder"), "-o", str(tmp_path / "out.npy"), "--server", url]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "3.png: not a picture" in result.stderr and "3 vectors of 512 numbers" in result.stdout
    assert np.allclose(np.load(tmp_path / "out.npy"), vectors[:3], atol=1e-4)
    assert [Path(line).name for line in (tmp_path / "out.names.txt").read_text().splitlines()] == ["0.png", "1.png", "2.png"]


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
