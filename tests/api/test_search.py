"""Index, search and report over HTTP, with an encoder's own vectors of real files."""

from __future__ import annotations

import base64
import csv
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.thumbnails import picture_file, thumbnail
from jobs.indexes import IndexPlace
from jobs.records import JobDraft, ResultDraft
from support.vectors import write_vectors
from worker.supervisor import Supervisor

COUNT = 24
TWINS = (3, 20)  # the same picture under two names


@pytest.fixture(scope="module")
def encoder(published) -> str:
    return str(published.encoder_id)


@pytest.fixture(scope="module")
def files(service, picture) -> dict[str, bytes]:
    """Pictures below the data root, in photos/."""
    made = {f"{row % 2}/{row:02}.png": picture(3 if row in TWINS else row) for row in range(COUNT)}
    for name, content in made.items():
        path = service.data_root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return made


@pytest.fixture(scope="module")
def vectors(service, encoder, files) -> Any:
    sent = [("images", content) for content in files.values()]
    answer = service.http.post("/embed", data={"encoder": encoder}, files=sent, headers={"Accept": "application/x-npy"})
    return np.load(io.BytesIO(answer.content))


@pytest.fixture(scope="module")
def embed_job(service, encoder, files, vectors) -> str:
    return embedded(service, encoder, vectors, [*files])


def embedded(running: Any, encoder: str, vectors: Any, paths: list[str], kind: str = "embed") -> str:
    """A job that has succeeded, with a result as embed jobs have it."""
    spec = {"encoder": encoder, "data": {"source": "folder", "path": "photos", "size": 32}}
    job = running.repository.create(JobDraft(name=None, kind=kind, method=kind, spec=spec)).id
    running.repository.claim(job, "test", 60)
    folder = write_vectors(running.home / "vectors" / f"{job}.1", vectors, paths, encoder=encoder)
    facts = {"images": len(paths), "errors": 0, "dim": vectors.shape[1]}
    running.repository.finish(job, 1, ResultDraft(str(folder.relative_to(running.home)), facts))
    return str(job)


def built(running: Any, encoder: str, job: str) -> dict[str, Any]:
    """Ask for an index, and have a worker's supervisor build it, with the real trainer."""
    answer = running.http.post(f"/encoders/{encoder}/index", json={"vectors": job})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/jobs/{answer.json()['id']}"
    Supervisor(running.repository, running.services.settings).run(answer.json()["id"])
    return running.http.get(f"/encoders/{encoder}/index").json()


@pytest.fixture(scope="module")
def ready(service, encoder, embed_job) -> dict[str, Any]:
    return built(service, encoder, embed_job)


class TestBuilding:
    def test_it_says_what_was_indexed(self, service, ready, encoder, embed_job):
        assert (ready["encoder"], ready["status"]) == (encoder, "ready")
        index = ready["index"]
        assert (index["vectors"], index["count"], index["left_out"], index["dim"]) == (embed_job, COUNT, 0, 512)
        assert index["data"] == {"source": "folder", "path": "photos"} and index["size_bytes"] > 0

    def test_it_is_a_job_like_the_others(self, service, ready, encoder, embed_job):
        job = ready["job"]
        assert job == service.http.get(f"/jobs/{job['id']}").json()
        assert (job["kind"], job["status"], job["progress"]["fraction"]) == ("index", "succeeded", 1.0)
        assert job["spec"] == {"kind": "index", "encoder": encoder, "vectors": embed_job, "data": ready["index"]["data"]}
        links = {name: f"/encoders/{encoder}/{name}" for name in ("index", "search", "report")}
        assert job["result"]["links"] == links and job["result"]["count"] == COUNT and "folder" not in job["result"]
        assert service.http.get(links["index"]).status_code == service.http.get(links["report"]).status_code == 200
        assert job["id"] in [each["id"] for each in service.http.get("/jobs", params={"kind": "index"}).json()["data"]]

    def test_by_post_jobs_too(self, service, ready, encoder, embed_job):
        body = {"kind": "index", "vectors": embed_job, "labels": {"a": "b"}}
        checked = service.http.post("/jobs", params={"validate_only": True}, json=body).json()
        assert checked["spec"]["encoder"] == encoder and checked["data"]["images"] == COUNT
        key = {"Idempotency-Key": "index-1"}
        first, second = (service.http.post("/jobs", json=body, headers=key).json() for _ in range(2))
        assert first["id"] == second["id"] and first["labels"] == {"a": "b"}
        waiting = service.http.get(f"/encoders/{encoder}/index").json()
        assert (waiting["status"], waiting["job"]["id"], waiting["index"]) == ("building", first["id"], ready["index"])
        assert service.http.post(f"/jobs/{first['id']}/cancel").json()["status"] == "cancelled"
        assert service.http.get(f"/encoders/{encoder}/index").json()["status"] == "ready"

    def test_what_cannot_be_indexed_is_refused(self, service, encoder, embed_job, publish, submit, vectors):
        def detail(body: dict[str, Any]) -> tuple[int, str]:
            answer = service.http.post(f"/encoders/{encoder}/index", json=body).json()
            return answer["status"], answer["detail"]

        assert detail({"vectors": submit().id})[1].endswith("is of kind pretrain; name one of kind embed")
        unfinished = service.repository.create(JobDraft(name=None, kind="embed", method="embed", spec={})).id
        assert detail({"vectors": unfinished})[1].endswith("is queued and has no vectors yet")
        others = publish().encoder_id
        assert (
            f"were made by {others}, not by {encoder}"
            in detail({"vectors": embedded(service, others, vectors[:2], ["a", "b"])})[1]
        )
        for bad in ("job_1", "../x", embed_job.lower(), encoder):
            assert detail({"vectors": bad})[0] == 422
        assert detail({})[0] == 422

    def test_a_failed_build_leaves_the_index_as_it_was(self, service, ready, encoder, embed_job, vectors, files):
        broken = embedded(service, encoder, vectors, [*files])
        (service.home / "vectors" / f"{broken}.1" / "part-00000.parquet").write_bytes(b"nothing")
        body = built(service, encoder, broken)
        assert body["status"] == "failed" and "part-00000.parquet cannot be read" in body["job"]["error"]["message"]
        assert body["index"]["vectors"] == embed_job
        assert service.http.post(f"/encoders/{encoder}/search", json={"vector": [1.0] * 512}).status_code == 200
        assert built(service, encoder, embed_job)["status"] == "ready"

    def test_removing(self, service, publish, vectors):
        other = publish().encoder_id
        here = f"/encoders/{other}"
        for call in (service.http.delete(f"{here}/index"), service.http.post(f"{here}/search", json={"vector": [1.0]})):
            assert call.status_code == 404 and "has no index. POST" in call.json()["detail"]
        job = embedded(service, other, vectors, [str(row) for row in range(COUNT)])
        built(service, other, job)
        waiting = service.http.post(f"{here}/index", json={"vectors": job}).json()
        assert service.http.delete(f"{here}/index").status_code == 204
        assert service.http.get(f"{here}/index").status_code == 404
        assert service.http.get(f"/jobs/{waiting['id']}").json()["status"] == "cancelled"
        assert not IndexPlace(service.home, other).folder.exists()


class TestSearching:
    @pytest.fixture(autouse=True)
    def _ready(self, ready, encoder):
        self.address = f"/encoders/{encoder}/search"

    def test_a_picture_finds_itself_in_every_form(self, service, files):
        name, content = list(files.items())[7]
        text = base64.b64encode(content).decode()
        answers = [
            service.http.post(self.address, params={"k": 3}, content=content, headers={"Content-Type": "image/png"}),
            service.http.post(self.address, data={"k": "3"}, files={"image": content}),
            service.http.post(self.address, json={"image": text, "k": 3}),
            service.http.post(self.address, json={"image": f"data:image/png;base64,{text}", "k": 3}),
        ]
        for answer in answers:
            assert answer.status_code == 200, answer.text
            found = answer.json()["data"]
            assert len(found) == 3 and found[0]["path"] == name and found[0]["score"] == pytest.approx(1, abs=1e-3)

    def test_a_vector_finds_what_numpy_finds(self, service, files, vectors):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        wanted = unit @ unit[5]
        for sent in (vectors[5].tolist(), base64.b64encode(vectors[5].astype("<f4").tobytes()).decode()):
            body = service.http.post(self.address, json={"vector": sent, "k": 1000}).json()
            assert body["index"]["count"] == COUNT and body["data"][0]["path"] == [*files][5]
            for each in body["data"]:
                assert each["score"] == pytest.approx(wanted[[*files].index(each["path"])], abs=2e-3)

    def test_thumbnails_are_small_jpegs_and_null_for_what_is_gone(self, service, files, vectors):
        gone = service.data_root / "photos" / [*files][9]
        kept = gone.read_bytes()
        gone.unlink()
        try:
            found = service.http.post(self.address, json={"vector": vectors[9].tolist(), "k": 4, "thumbnails": True}).json()[
                "data"
            ]
        finally:
            gone.write_bytes(kept)
        assert found[0]["path"] == [*files][9] and found[0]["thumbnail"] is None
        for each in found[1:]:
            image = Image.open(io.BytesIO(base64.b64decode(each["thumbnail"].removeprefix("data:image/jpeg;base64,"))))
            assert image.format == "JPEG" and image.size == (40, 40)
        plain = service.http.post(self.address, json={"vector": vectors[9].tolist()}).json()["data"]
        assert {each["thumbnail"] for each in plain} == {None}

    def test_what_is_wrong_is_said(self, service):
        def errors(body: Any) -> tuple[int, str]:
            answer = service.http.post(self.address, json=body).json()
            return answer["status"], answer["detail"]

        assert errors({"vector": [1.0, 2.0]}) == (422, "/vector: has 2 numbers; this index is over vectors of 512")
        assert errors({})[1].endswith("this has neither") and errors({"vector": [1.0], "image": "x"})[1].endswith("this has both")
        for bad in ([], [0.0] * 512, [1e300] * 512, "???", ["x"]):
            assert errors({"vector": bad})[0] == 422
        for k in (0, 1001, "many"):
            assert errors({"vector": [1.0] * 512, "k": k})[0] == 422
        code, said = errors({"image": "bm8gcGljdHVyZQ=="})
        assert code == 422 and said.startswith("/image: the image: not a picture")
        assert service.http.post(self.address, content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
        assert service.http.post("/encoders/enc_x/search", json={}).status_code in (404, 422)

    def test_a_swap_under_searches_loses_none(self, service, encoder, embed_job, files, vectors):
        wrong: list[Any] = []
        stop = threading.Event()

        def ask(row: int) -> None:
            while not stop.is_set():
                answer = service.http.post(self.address, json={"vector": vectors[row].tolist(), "k": 1})
                if answer.status_code != 200 or answer.json()["data"][0]["path"] != [*files][row]:
                    wrong.append(answer.text)

        threads = [threading.Thread(target=ask, args=(row,)) for row in (0, 1, 2)]
        for thread in threads:
            thread.start()
        folders = set()
        for _ in range(3):
            built(service, encoder, embed_job)
            folders.add(IndexPlace(service.home, encoder).current())
        stop.set()
        for thread in threads:
            thread.join()
        assert wrong == [] and len(folders) == 3
        assert [each.name for each in IndexPlace(service.home, encoder).folder.glob("job_*")] == [
            IndexPlace(service.home, encoder).current().name
        ]

    def test_a_damaged_index_is_said_and_not_followed(self, service, encoder, embed_job, vectors):
        built(service, encoder, embed_job)
        graph = IndexPlace(service.home, encoder).current() / "graph.usearch"
        content = bytearray(graph.read_bytes())
        content[len(content) // 2] ^= 0xFF
        graph.write_bytes(content)
        service.services.indexes.forget(encoder)
        answer = service.http.post(self.address, json={"vector": vectors[0].tolist()})
        assert answer.status_code == 409 and "graph.usearch has changed" in answer.json()["detail"]
        assert service.http.get(f"/encoders/{encoder}/index").json()["status"] == "failed"
        assert built(service, encoder, embed_job)["status"] == "ready"
        assert service.http.post(self.address, json={"vector": vectors[0].tolist()}).status_code == 200


class TestReport:
    def test_twins_and_outliers(self, service, ready, encoder, files):
        body = service.http.get(f"/encoders/{encoder}/report", params={"threshold": 0.99999, "limit": 5}).json()
        twins = {[*files][row] for row in TWINS}
        groups = body["duplicates"]["data"]
        assert any(twins <= {each["path"] for each in group["data"]} for group in groups)
        apart = body["outliers"]
        assert apart["count"] == COUNT and len(apart["data"]) == 5 and apart["has_more"]
        distances = [each["distance"] for each in apart["data"]]
        assert distances == sorted(distances, reverse=True)
        rest = service.http.get(f"/encoders/{encoder}/report", params={"skip": 5, "limit": 1000}).json()["outliers"]
        assert len(rest["data"]) == COUNT - 5 and not rest["has_more"]

    def test_as_csv(self, service, ready, encoder, files):
        answer = service.http.get(f"/encoders/{encoder}/report", params={"threshold": 0.99999, "format": "csv"})
        assert answer.headers["content-disposition"].endswith('-report.csv"')
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["path"] for row in rows] == [*files]
        one, other = (rows[row]["group"] for row in TWINS)
        assert one == other != ""


class TestPaths:
    """What a Parquet file calls a path is not trusted."""

    @pytest.mark.parametrize(
        "path", ["../secret.png", "/etc/passwd", "a/../../secret.png", "link/secret.png", "x\0y", "n" * 5000, "."]
    )
    def test_nothing_outside_the_data_root_is_read(self, tmp_path: Path, picture, path: str):
        root = tmp_path / "data"
        root.mkdir()
        (tmp_path / "secret.png").write_bytes(picture(0))
        (root / "link").symlink_to(tmp_path)
        assert picture_file(root, {"path": "."}, path) is None and thumbnail(root, {"path": "."}, path) is None

    def test_a_picture_below_it_is(self, tmp_path: Path, picture):
        (tmp_path / "a.png").write_bytes(picture(0))
        assert picture_file(tmp_path, {"path": "."}, "a.png") == tmp_path.resolve() / "a.png"
        assert picture_file(tmp_path, {"path": ".."}, f"{tmp_path.name}/a.png") == tmp_path.resolve() / "a.png"
        assert picture_file(tmp_path, {}, "a.png") is None
