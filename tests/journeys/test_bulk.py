"""A job of kind embed with real parts, and what must not be lost when something dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imprint import running
from imprint.records import Job
from imprint.running import Running
from ssl_core.embedder import Embedder
from support.journeys import Undisturbed
from support.processes import eventually
from support.service import Service

COUNT, SHARD = 4000, 1000


@pytest.fixture(scope="session")
def many(pictures: Path) -> Path:
    """A folder of the data root with 4,000 names for the 81 pictures, of which one is broken."""
    files = sorted((pictures / "pictures").rglob("*.*"))
    folder = pictures / "many"
    for number in range(COUNT):
        file = files[number % len(files)]
        place = folder / f"{number // 1000}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(file, place / f"{number:04}{file.suffix}")
    return folder


def submit(service: Service, undisturbed: Undisturbed, path: str = "many", **fields: Any) -> str:
    data = {"source": "folder", "path": path}
    return service.client.submit(kind="embed", encoder=undisturbed.job.id, data=data, shard_images=SHARD, **fields).id


def files_of(service: Service, job: Job) -> list[bytes]:
    folder = service.home / "vectors" / f"{job.id}.{job.attempt}"
    assert [each.name for each in sorted((service.home / "vectors").glob(f"*{job.id}*"))] == [folder.name], "published once"
    return [file.read_bytes() for file in sorted(folder.glob("*.parquet"))]


@pytest.fixture(scope="session")
def whole(running: Service, undisturbed: Undisturbed, many: Path) -> Job:
    """A job that nothing disturbed. Needs a worker: ask for `service` first."""
    return running.succeeded(submit(running, undisturbed))


def in_the_second_shard(service: Service, job_id: str) -> Path:
    """Wait until it has written one shard and begun another; gives the attempt's folder."""
    folder = service.attempt(job_id) / "vectors"
    eventually(lambda: list(folder.glob(".part-00001*")), "the second shard begins", 60)
    return folder


def test_every_picture_s_vector(service: Service, whole: Job, undisturbed: Undisturbed, many: Path, tmp_path: Path) -> None:
    assert whole.raw["result"]["images"] == COUNT and whole.raw["result"]["shards"] == COUNT // SHARD
    assert whole.progress.fraction == 1.0 and (whole.progress.images_per_second or 0) > 0
    happened = [event.type for event in service.client.events(whole.id)]
    assert happened[:2] == ["created", "running"] and happened[-1] == "succeeded"
    assert [e.data["phase"] for e in service.history(whole.id, "phase")] == ["preparing", "embedding"]
    rows: list[dict[str, Any]] = []
    for part in service.http.get(f"/jobs/{whole.id}/vectors").json()["data"]:
        (tmp_path / part["file"]).write_bytes(service.http.get(part["href"]).content)
        rows += pq.read_table(tmp_path / part["file"]).to_pylist()
    assert [row["path"] for row in rows] == sorted(str(file.relative_to(many)) for file in many.rglob("*.*"))
    bad = [row for row in rows if row["error"] is not None]
    assert len(bad) == whole.raw["result"]["errors"] == whole.raw["data"]["unreadable"] > 0
    assert all(row["embedding"] is None and row["path"].endswith(".jpg") for row in bad)
    some = [row for row in rows[::100] if row["error"] is None]
    expected = Embedder.load(undisturbed.folder).embed_images([many / row["path"] for row in some])
    np.testing.assert_allclose([row["embedding"] for row in some], expected, rtol=1e-4, atol=1e-5)
    assert not list((service.home / "jobs" / whole.id).glob("*/vectors")), "what only a later attempt would have needed"


def test_the_trainer_is_killed(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    job_id = submit(service, undisturbed)
    in_the_second_shard(service, job_id)
    service.kill_trainer(job_id)
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and ended.error is None
    (resumed,) = service.history(job_id, "resumed")
    kept = resumed.data["step"]
    assert kept in (SHARD, 2 * SHARD, 3 * SHARD) and resumed.data["attempt"] == 2
    assert service.said(job_id, 2, "checkpoint")[0]["step"] == kept + SHARD, "at most one shard is done again"
    assert files_of(service, ended) == files_of(service, whole)


def test_the_worker_is_killed(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    service.stop(service.worker)
    service.start_worker(lease_seconds=3, heartbeat_seconds=0.5)
    job_id = submit(service, undisturbed)
    in_the_second_shard(service, job_id)
    service.worker.kill()
    assert service.worker.exit_code == -signal.SIGKILL
    eventually(lambda: not service.trainers(job_id), "the orphan's end", 5)
    service.start_worker()
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and service.history(job_id, "resumed")
    assert files_of(service, ended) == files_of(service, whole)


def test_pause_and_resume(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    job_id = submit(service, undisturbed)
    in_the_second_shard(service, job_id)
    service.client.pause(job_id)
    service.until(lambda: service.job(job_id).status == "paused", "it pauses")
    assert service.trainers(job_id) == [] and service.http.get(f"/jobs/{job_id}/vectors").status_code == 409
    service.client.resume(job_id)
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and files_of(service, ended) == files_of(service, whole)


def test_cancel(service: Service, undisturbed: Undisturbed, many: Path) -> None:
    job_id = submit(service, undisturbed)
    in_the_second_shard(service, job_id)
    service.client.cancel(job_id)
    assert service.ended(job_id).status == "cancelled"
    assert not list((service.home / "vectors").glob(f"*{job_id}*"))


def imprint(service: Service, home: Path, *words: object) -> str:
    """What `imprint WORDS` prints, with the service of the note in `home`, if there is one, else that of the address alone."""
    env = {**service.env, "IMPRINT_HOME": str(home), "IMPRINT_SERVER": service.address}
    command = [sys.executable, "-P", "-m", "imprint", *map(str, words)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("wishes", "dim"), [((), 1024), (("--normalize", "-d", 8), 8)])
def test_the_command_gives_the_same_file_here_and_from_another_machine(
    service: Service, whole: Job, undisturbed: Undisturbed, pictures: Path, tmp_path: Path, wishes: tuple[object, ...], dim: int
) -> None:
    """Where the server can see the folder a job does it; elsewhere the pictures travel."""
    encoder, folder = undisturbed.job.encoder, pictures / "pictures"
    note = Running(os.getpid(), service.address, str(service.home), str(pictures))
    (service.home / "run").mkdir(exist_ok=True)
    running.write(note)
    try:
        said = imprint(service, service.home, "embed", folder, "-e", encoder, "-o", tmp_path / "here.parquet", *wishes)
    finally:
        running.erase(service.home)
    assert "job job_" in said and f"80 vectors of {dim} numbers" in said and "1 pictures could not be read" in said
    said = imprint(service, tmp_path, "embed", folder, "-e", encoder, "-o", tmp_path / "there.parquet", *wishes)
    assert "job job_" not in said and f"80 vectors of {dim} numbers" in said
    here, there = (pq.read_table(tmp_path / name) for name in ("here.parquet", "there.parquet"))
    assert here.schema.equals(there.schema, check_metadata=True)
    assert here["path"] == there["path"] and here["path"].to_pylist() == sorted(here["path"].to_pylist())
    pairs = list(zip(here["embedding"].to_pylist(), there["embedding"].to_pylist(), strict=True))
    assert [a is None for a, _ in pairs] == [b is None for _, b in pairs] and sum(a is None for a, _ in pairs) == 1
    np.testing.assert_allclose([a for a, _ in pairs if a], [b for _, b in pairs if b], rtol=1e-4, atol=1e-5)
    if wishes:
        np.testing.assert_allclose([np.linalg.norm(a) for a, _ in pairs if a], 1, rtol=1e-5)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["here.parquet", "there.parquet"], "nothing else is left"


def test_the_client_saves_all_shards_as_one_file(service: Service, whole: Job, tmp_path: Path) -> None:
    path = service.client.save_vectors(whole.id, tmp_path / "all.parquet")
    folder = service.home / "vectors" / f"{whole.id}.{whole.attempt}"
    parts = [pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]
    assert pq.read_table(path).equals(pa.concat_tables(parts)) and len(parts) == COUNT // SHARD


def test_pictures_that_are_gone_when_it_begins(service: Service, undisturbed: Undisturbed, pictures: Path) -> None:
    (pictures / "gone").mkdir()
    os.link(next((pictures / "pictures" / "flat").glob("*.png")), pictures / "gone" / "a.png")
    service.stop(service.worker)
    job_id = submit(service, undisturbed, "gone")
    (pictures / "gone" / "a.png").unlink()
    service.start_worker()
    ended = service.ended(job_id)
    assert ended.status == "failed" and ended.error is not None and ended.error.code == "data_error"
    assert "holds no images" in ended.error.message
