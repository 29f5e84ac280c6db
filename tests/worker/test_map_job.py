"""Jobs of kind map with the real trainer: from an embed job's vectors to the file that is served. Each run compiles for 10 s."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jobs.ids import new_id
from jobs.records import JobDraft, ResultDraft
from ssl_core.mapping.table import read_map
from support.processes import eventually
from support.vectors import ENCODER, clustered, write_vectors
from support.workplace import Workplace


@pytest.fixture
def place(place: Workplace) -> Workplace:
    """With the trainer as it is installed, not the one of the other tests."""
    return replace(place, settings=place.settings.model_copy(update={"trainer_command": (), "stall_seconds": 150.0}))


def submitted(place: Workplace, count: int = 200) -> str:
    """A map job over the vectors of an embed job that has succeeded."""
    job = place.repository.create(JobDraft(name=None, kind="embed", method="embed", spec={"encoder": ENCODER}))
    assert place.repository.claim(job.id, "test", 60) is not None
    paths = [f"{row % 2}/{row:06}.jpg" for row in range(count)]
    folder = write_vectors(place.settings.home / "vectors" / f"{job.id}.1", clustered(count, 16), paths, shard=20_000)
    place.repository.finish(job.id, 1, ResultDraft(str(folder.relative_to(place.settings.home)), {"images": count}))
    return map_job(place, job.id)


def map_job(place: Workplace, vectors: str) -> str:
    spec = {"kind": "map", "encoder": ENCODER, "vectors": vectors, "data": {"source": "folder", "path": "photos"}}
    return place.repository.create(JobDraft(name=None, kind="map", method="map", spec=spec)).id


def test_killed_in_the_middle_it_begins_anew_and_ends(place: Workplace) -> None:
    job_id = submitted(place)
    claim = place.repository.claim(job_id, "dead", 0.001)
    assert claim is not None
    half = place.settings.home / "jobs" / job_id / "1" / "map"
    half.mkdir(parents=True)
    eventually(lambda: place.repository.expire_leases(3), "its lease runs out", 5)
    job = place.run(job_id)
    assert (job.status, job.error, job.attempt) == ("succeeded", None, 2)
    assert job.result is not None and (job.result["count"], job.result["left_out"]) == (200, 0)
    table = read_map(place.settings.home / job.result["folder"])
    assert table.column("path")[7].as_py() == "1/000007.jpg" and table.num_rows == 200
    assert job.result["size_bytes"] == (place.settings.home / job.result["folder"] / "map.arrow").stat().st_size
    assert job.progress is not None and job.progress["fraction"] == 1.0
    assert not half.exists() and not (place.settings.home / "jobs" / job_id / "2" / "map").exists()


def test_cancelled_while_it_is_made(place: Workplace) -> None:
    job_id = submitted(place, count=20_000)
    with place.running(job_id):
        eventually(lambda: (place.repository.get(job_id).progress or {}).get("step", 0) > 0, "it has begun", 60)
        place.repository.request_cancel(job_id)
    assert place.repository.get(job_id).status == "cancelled"


def test_vectors_that_are_gone_are_the_reason(place: Workplace) -> None:
    job = place.run(map_job(place, new_id("job")))
    assert job.status == "failed" and job.error is not None
    assert "there is no job" in job.error["message"], job.error
