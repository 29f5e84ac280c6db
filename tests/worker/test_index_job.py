"""Jobs of kind index with the real trainer: from an embed job's vectors to the index that is searched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.ids import new_id
from jobs.indexes import IndexPlace
from jobs.records import JobDraft, ResultDraft
from ssl_core.search.index import PictureIndex
from support.processes import eventually
from support.vectors import ENCODER, clustered, write_vectors
from support.workplace import Workplace


@pytest.fixture
def place(place: Workplace) -> Workplace:
    """With the trainer as it is installed, not the one of the other tests."""
    return replace(place, settings=place.settings.model_copy(update={"trainer_command": ()}))


def embedded(place: Workplace, count: int = 300, dim: int = 16, encoder: str = ENCODER) -> str:
    """The id of an embed job that has succeeded, with so many vectors."""
    job = place.repository.create(JobDraft(name=None, kind="embed", method="embed", spec={"encoder": encoder}))
    claim = place.repository.claim(job.id, "test", 60)
    assert claim is not None
    vectors, paths = clustered(count, dim), [f"{row:06}.jpg" for row in range(count)]
    folder = write_vectors(place.settings.home / "vectors" / f"{job.id}.1", vectors, paths, encoder=encoder, shard=20_000)
    place.repository.finish(job.id, 1, ResultDraft(str(folder.relative_to(place.settings.home)), {"images": count}))
    return job.id


def submitted(place: Workplace, vectors: str, encoder: str = ENCODER) -> str:
    spec = {"kind": "index", "encoder": encoder, "vectors": vectors, "data": {"source": "folder", "path": "photos"}}
    return place.repository.create(JobDraft(name=None, kind="index", method="index", spec=spec)).id


def current(place: Workplace) -> Path:
    found = IndexPlace(place.settings.home, ENCODER).current()
    assert found is not None
    return found


def test_from_vectors_to_an_index(place: Workplace) -> None:
    vectors = embedded(place)
    job = place.run(submitted(place, vectors))
    assert (job.status, job.error) == ("succeeded", None)
    assert job.result is not None and (job.result["count"], job.result["dim"], job.result["left_out"]) == (300, 16, 0)
    assert current(place) == place.settings.home / job.result["folder"] and current(place).name == f"{job.id}.1"
    index = PictureIndex.open(current(place))
    assert (index.facts.encoder, index.facts.vectors, index.facts.data["path"]) == (ENCODER, vectors, "photos")
    assert index.search(clustered(300, 16)[123], 1)[0].path == "000123.jpg"
    assert job.progress is not None and job.progress["fraction"] == 1.0
    assert place.history(job.id)[:2] == ["created", "running"] and place.history(job.id)[-1] == "succeeded"


def test_a_second_job_takes_the_place_of_the_first(place: Workplace) -> None:
    vectors = embedded(place)
    first = place.run(submitted(place, vectors))
    old = PictureIndex.open(current(place))
    second = place.run(submitted(place, embedded(place, count=50)))
    assert current(place).name == f"{second.id}.1" and len(PictureIndex.open(current(place))) == 50
    assert first.result is not None and not (place.settings.home / first.result["folder"]).exists()
    assert old.search(clustered(300, 16)[7], 1)[0].path == "000007.jpg", "who has it open can go on"


def test_a_supervisor_that_died_after_the_swap_changes_nothing(place: Workplace) -> None:
    """Publishing is done, recording is not: the next attempt builds again and its index takes the place."""
    job_id = submitted(place, embedded(place))
    claim = place.repository.claim(job_id, "dead", 0.001)
    assert claim is not None and claim.attempt == 1
    made = place.settings.home / "made"
    made.mkdir()
    IndexPlace(place.settings.home, ENCODER).publish(made, f"{job_id}.1")
    eventually(lambda: place.repository.expire_leases(3), "its lease runs out", 5)
    job = place.run(job_id)
    assert (job.status, job.attempt, current(place).name) == ("succeeded", 2, f"{job_id}.2")
    assert [each.name for each in current(place).parent.iterdir() if each.is_dir()] == [f"{job_id}.2"]


def test_cancelled_while_it_builds(place: Workplace) -> None:
    job_id = submitted(place, embedded(place, count=40_000, dim=64))
    with place.running(job_id):
        eventually(lambda: (place.repository.get(job_id).progress or {}).get("step", 0) > 0, "some pictures are in", 60)
        place.repository.request_cancel(job_id)
    assert place.repository.get(job_id).status == "cancelled"
    assert IndexPlace(place.settings.home, ENCODER).current() is None


@pytest.mark.parametrize("fault", ["another encoder", "gone", "no job"])
def test_what_cannot_be_indexed_fails_with_its_reason(place: Workplace, fault: str) -> None:
    vectors = embedded(place, encoder=ENCODER if fault != "another encoder" else new_id("enc"))
    if fault == "gone":
        (place.settings.home / "vectors" / f"{vectors}.1" / "result.json").unlink()
    job = place.run(submitted(place, new_id("job") if fault == "no job" else vectors))
    assert job.status == "failed" and job.error is not None
    expected = {"another encoder": "were made by", "gone": "has no result.json", "no job": "there is no job"}[fault]
    assert expected in job.error["message"], job.error


def test_an_index_is_named_after_its_attempt_only(tmp_path: Path) -> None:
    place = IndexPlace(tmp_path, ENCODER)
    (tmp_path / "made").mkdir()
    with pytest.raises(ValueError, match="is not the name"):
        place.publish(tmp_path / "made", "../elsewhere")
    place.folder.mkdir(parents=True)
    (place.folder / "current").write_text("../../../etc")
    assert place.current() is None
    with pytest.raises(ValueError, match="is not an id"):
        IndexPlace(tmp_path, "../x")


def test_what_was_built_before_never_takes_the_place_of_what_was_built_after(tmp_path: Path) -> None:
    """As a worker would try that was frozen after its building, and went on when all was over."""
    place = IndexPlace(tmp_path, ENCODER)
    old, new = new_id("job"), new_id("job")
    names = [f"{old}.9", f"{old}.10", f"{new}.1"]
    for number, name in enumerate(names):
        (tmp_path / name).mkdir()
        assert place.publish(tmp_path / name, name) == place.folder / name
        for earlier in names[:number]:
            late = tmp_path / f"late {earlier}"
            late.mkdir(exist_ok=True)
            assert place.publish(late, earlier) == late
            assert place.current() == place.folder / name and place.folder.joinpath(name).is_dir()
