"""The service as docker-compose.yml starts it, without an engine: the journey from a job to embeddings, and its health checks.

tests/support/composed.py says what stands in for containers. It takes about a minute: three servers, three trainings, and
importing torch for each of them.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from support.composed import PLANTED, TINY, Composed
from support.servers import NoServer, postgres


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Everything up, in the order of `depends_on`; api and worker at the same time, as Compose starts them."""
    folder = tmp_path_factory.mktemp("compose")
    try:
        server = contextlib.ExitStack()
        database = server.enter_context(postgres(folder))
    except NoServer as reason:
        pytest.skip(str(reason))
    with server:
        made = Composed(folder, database)
        try:
            assert made["postgres"].environment["POSTGRES_USER"] == made["postgres"].environment["POSTGRES_DB"] == "imprint"
            asleep = [name for name in ("redis", "api", "worker") if made[name].healthy()]
            assert not asleep, "a health check that passes before anything runs checks nothing"
            made["redis"].start()
            for name in ("redis", "postgres"):
                made.wait_until(made[name].healthy, 20, f"{name} is healthy")
            for name in ("api", "worker"):
                made[name].start()
            for name in ("api", "worker"):
                made.wait_until(made[name].healthy, 60, f"{name} is healthy")
            yield made
        finally:
            made.http.close()
            for name in ("api", "worker", "redis"):
                made[name].end()


def digits(count: int) -> list[bytes]:
    """Handwritten digits as PNG files."""
    from PIL import Image
    from sklearn.datasets import load_digits

    pictures = []
    for values in load_digits().images[:count]:
        file = io.BytesIO()
        Image.fromarray((values * 15.9).astype("uint8")).save(file, "PNG")
        pictures.append(file.getvalue())
    return pictures


def secrets_of_trainer(job_id: str) -> list[str]:
    """Which secrets the environment of the job's training process holds (Linux; elsewhere nobody can look)."""
    environments = [
        (process / "environ").read_bytes().decode()
        for process in Path("/proc").glob("[0-9]*")
        if b"ssl_core" in _read(process / "cmdline") and job_id.encode() in _read(process / "cmdline")
    ]
    assert environments or sys.platform != "linux", "the trainer is not running"
    return [name for name, secret in PLANTED.items() if any(secret in each for each in environments)]


def _read(file: Path) -> bytes:
    with contextlib.suppress(OSError):
        return file.read_bytes()
    return b""


def test_submit_to_embed(composed: Composed) -> None:
    """The journey of a user: a job goes in, an encoder comes out and answers with embeddings."""
    job_id = composed.submit(name="through compose")
    job = composed.wait_until(
        lambda: (found := composed.job(job_id))["status"] not in ("queued", "running") and found, 120, "the job ends"
    )
    assert job["status"] == "succeeded", job["error"]
    assert job["attempt"] == 1
    assert job["progress"]["fraction"] == 1.0

    (encoder,) = composed.http.get("/encoders").raise_for_status().json()["data"]
    assert encoder["id"] == job["encoder"]
    (published,) = (composed.volume("home") / "encoders").iterdir()
    assert {file.name for file in published.iterdir()} == {
        "model.safetensors", "manifest.json", "openvino.xml", "openvino.bin", "projection.safetensors",
    }  # fmt: skip

    pictures = [base64.b64encode(picture).decode() for picture in digits(3)]
    answer = composed.http.post("/embed", json={"encoder": job_id, "images": pictures}).raise_for_status().json()
    assert answer["encoder"] == encoder["id"]
    assert [len(each["embedding"]) for each in answer["data"]] == [512] * 3
    files = [("images", (f"{number}.png", picture, "image/png")) for number, picture in enumerate(digits(1))]
    again = composed.http.post("/embed", data={"encoder": "latest"}, files=files).raise_for_status().json()
    assert again["data"][0]["embedding"] == pytest.approx(answer["data"][0]["embedding"], abs=1e-4)


def test_no_secret_lies_in_the_files_of_a_job(composed: Composed) -> None:
    """Specs, events and logs are shown to whoever may see the job."""
    files = [file for file in (composed.volume("home") / "jobs").rglob("*") if file.suffix in (".json", ".jsonl", ".txt")]
    assert files
    for file in files:
        text = file.read_text(errors="replace")
        assert not [name for name, secret in PLANTED.items() if secret in text], file


def test_nothing_is_said_without_a_key(composed: Composed) -> None:
    address = f"{composed.address}/jobs"
    assert httpx.get(address, trust_env=False).status_code == 401
    assert httpx.get(address, headers={"Authorization": "Bearer wrong"}, trust_env=False).status_code == 401
    assert httpx.get(f"{composed.address}/livez", trust_env=False).status_code == 200


def test_the_broker_asks_for_its_password(composed: Composed) -> None:
    """And its health check notices a wrong one: it cannot pass by accident."""
    broker = composed["redis"]
    assert broker.healthy()
    right = broker.environment["VALKEYCLI_AUTH"]
    try:
        broker.environment["VALKEYCLI_AUTH"] = "wrong"
        assert not broker.healthy()
    finally:
        broker.environment["VALKEYCLI_AUTH"] = right


def test_a_worker_that_is_stopped_gives_its_job_back(composed: Composed) -> None:
    """`docker compose up` with a new image stops the old worker: within its grace period, with a checkpoint, nothing lost."""
    worker = composed["worker"]
    job_id = composed.submit(trainer={"max_epochs": 500, "batch_size": 32})
    composed.wait_until(lambda: (composed.job(job_id)["progress"] or {}).get("step", 0) >= 1, 60, "the first step")
    assert not secrets_of_trainer(job_id)
    assert worker.stop() < worker.patience
    job = composed.job(job_id)
    assert (job["status"], job["attempt"]) == ("queued", 1)
    assert composed.http.get(f"/jobs/{job_id}/checkpoints").raise_for_status().json()["data"]

    assert not worker.healthy()
    worker.start()
    resumed = composed.wait_until(
        lambda: [each for each in composed.http.get(f"/jobs/{job_id}/events").json()["data"] if each["type"] == "resumed"],
        60,
        "the second attempt goes on from the checkpoint",
    )
    assert resumed
    assert composed.http.post(f"/jobs/{job_id}/cancel").status_code == 202
    composed.wait_until(lambda: composed.job(job_id)["status"] == "cancelled", 15, "the job is cancelled")


def test_logs_are_one_object_a_line(composed: Composed) -> None:
    """Of API, worker and sweeper; with whose request, job and attempt it is, and for every change of a job who and why."""
    lines = {name: [json.loads(line) for line in composed[name].log.read_text().splitlines()] for name in ("api", "worker")}
    assert all({"at", "level", "logger", "message"} <= set(line) for each in lines.values() for line in each)
    told = [(line["message"].split()[1:], line) for each in lines.values() for line in each if line["logger"] == "audit"]
    job_id = next(line["job"] for words, line in told if words == ["queued"])  # the one that a worker gave back
    mine = {" ".join(words): line for words, line in told if line["job"] == job_id}
    assert list(mine) == ["created", "cancel requested", "running", "queued", "cancelled"]
    assert mine["created"]["by"] == mine["cancelled"]["by"] == "IMPRINT_API_KEYS-1"
    assert mine["created"]["request"].startswith("req_") and mine["queued"]["why"] == "shutdown"
    assert (mine["cancelled"]["why"], mine["cancelled"]["attempt"]) == ("cancel", 2)
    events = composed.http.get(f"/jobs/{job_id}/events").raise_for_status().json()["data"]
    cancelled = next(event for event in events if event["type"] == "cancelled")
    assert cancelled["data"] == {"attempt": 2, "by": "IMPRINT_API_KEYS-1", "why": "cancel"}


def test_no_secret_is_said_anywhere(composed: Composed) -> None:
    """Asked for everything, rightly and wrongly, with the broker gone too: no answer, log or row holds one of them."""
    assert composed["redis"].stop() < composed["redis"].patience
    said = [composed.http.post("/jobs", json={**TINY, "name": "nobody wakes"}).text]
    jobs = composed.http.get("/jobs").json()["data"]
    for job in jobs:
        said += [composed.http.get(link).text for link in job["links"].values()]
    for address in ("/readyz", "/metrics", "/openapi.json", "/docs", "/encoders", "/jobs/x", "/jobs?status=x", "/nowhere"):
        said.append(composed.http.get(address).text)
    said.append(composed.http.post("/datasets", json={"name": "x", "path": "../../etc"}).text)
    said.append(httpx.get(f"{composed.address}/jobs", headers={"Authorization": "Bearer wrong"}, trust_env=False).text)
    with contextlib.closing(psycopg.connect(host=composed.socket_folder, user="imprint", dbname="imprint")) as database:
        tables = database.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'").fetchall()
        said += [str(database.execute(f"SELECT t::text FROM {name} t").fetchall()) for (name,) in tables]
    assert len(tables) > 5 and any("nobody wakes" in each for each in said)
    said += [file.read_text(errors="replace") for file in composed.folder.glob("*.log")]
    assert not [name for name, secret in PLANTED.items() for each in said if secret in each]


def test_nothing_is_written_outside_the_volumes(composed: Composed) -> None:
    """Temporary files and caches are on the volume `home`, where there is room; its folders are of these names."""
    for name in ("api", "worker"):
        environment = composed[name].environment
        for variable in ("TMPDIR", "XDG_CACHE_HOME", "IMPRINT_HOME"):
            assert Path(environment[variable]).is_relative_to(composed.volume("home"))
        assert not Path(environment["HOME"]).exists()


def test_all_stop_within_their_grace_periods(composed: Composed) -> None:
    """The last test here: nothing runs after it."""
    for name in ("api", "worker"):
        service = composed[name]
        assert service.stop() < service.patience
        assert service.process is not None
        # uvicorn ends itself by the same signal once it has stopped cleanly
        assert service.process.returncode in (0, -service.stop_signal), service.log.read_text()[-2000:]
