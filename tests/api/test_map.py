"""Maps over HTTP: what may be queued, and what is on one, with a real file and real pictures."""

from __future__ import annotations

import csv
import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from api.thumbnails import jpeg, pictures_root
from jobs.ids import new_id
from jobs.records import JobDraft, ResultDraft
from ssl_core.mapping.table import Columns, write_map

COUNT = 12
ZIP = "application/zip"
PATHS = [f"{'cats' if row % 3 else '<b>dögs'}/{row:02}.png" for row in range(COUNT)]


@pytest.fixture(scope="module")
def embed_job(service, published) -> str:
    return finished(service, "embed", {"encoder": published.encoder_id}, "vectors/x", {"images": 12, "errors": 2, "dim": 8})


def finished(service: Any, kind: str, spec: dict[str, Any], folder: str, facts: dict[str, Any]) -> str:
    spec = {"data": {"source": "folder", "path": "photos", "size": 32}, **spec}
    job = service.repository.create(JobDraft(name=None, kind=kind, method=kind, spec=spec)).id
    service.repository.claim(job, "test", 60)
    service.repository.finish(job, 1, ResultDraft(folder, facts))
    return str(job)


@pytest.fixture(scope="module")
def columns() -> Columns:
    rng = np.random.default_rng(0)
    nearest = np.array([[(row + step) % COUNT for step in range(1, 11)] for row in range(COUNT)], np.int32)
    cosine = np.tile(np.linspace(0.9, 0.1, 10, dtype=np.float32), (COUNT, 1))
    nearest[0, 3:], cosine[0, 3:] = -1, np.nan
    xy = rng.normal(size=(COUNT, 2)).astype(np.float32)
    cluster = np.array([row % 2 - (row == 5) * 2 for row in range(COUNT)], np.int32)
    return Columns(PATHS, xy, cluster, rng.random(COUNT).astype(np.float32), nearest, cosine)


@pytest.fixture(scope="module")
def job(service, embed_job, published, columns, picture) -> str:
    folder = service.home / "maps" / "made.1"
    folder.mkdir(parents=True)
    write_map(folder, columns)
    for row, path in enumerate(PATHS[:-1]):
        file = service.data_root / "photos" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(row, side=400))
    facts = {"count": COUNT, "left_out": 2, "dim": 8, "landmarks": COUNT, "clusters": 2, "unclustered": 1, "seconds": 1.5}
    spec = {"kind": "map", "encoder": published.encoder_id, "vectors": embed_job}
    return finished(service, "map", spec, "maps/made.1", {**facts, "size_bytes": 4000})


class TestSubmitting:
    def test_the_spec_is_complete_and_names_the_encoder(self, service, embed_job, published):
        answer = service.http.post("/jobs", json={"kind": "map", "vectors": embed_job, "neighbours": 30})
        assert answer.status_code == 202, answer.text
        spec = answer.json()["spec"]
        assert (spec["encoder"], spec["neighbours"], spec["min_dist"], spec["seed"]) == (published.encoder_id, 30, 0.1, 0)
        assert spec["data"] == {"source": "folder", "path": "photos"}
        assert service.http.get("/jobs", params={"kind": "map"}).json()["data"][0]["id"] == answer.json()["id"]

    @pytest.mark.parametrize("kind", ["map", "index"])
    def test_uploaded_pictures_are_found_again(self, service, published, picture, kind):
        """By the dataset, whose files lie in a place of their own, where thumbnails are read; when it is deleted, nowhere."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(f"cats/{kind}.png", picture(0, side=200))
        sent = service.http.post("/datasets", params={"name": kind}, content=file.getvalue(), headers={"Content-Type": ZIP})
        dataset = sent.json()["id"]
        data = {"source": "folder", "path": ".", "dataset": dataset}
        facts = {"images": COUNT, "errors": 0, "dim": 8}
        vectors = finished(service, "embed", {"encoder": published.encoder_id, "data": data}, "vectors/y", facts)
        wanted = {"kind": kind, "vectors": vectors}
        job = service.http.post("/jobs", json=wanted).json()
        assert job["spec"]["data"] == data
        shown = jpeg(pictures_root(service.services, data), data, f"cats/{kind}.png")
        assert shown is not None and max(Image.open(io.BytesIO(shown)).size) == 160
        service.http.post(f"/jobs/{job['id']}/cancel")
        assert service.http.delete(f"/datasets/{dataset}").status_code == 204
        assert service.http.post("/jobs", json=wanted).json()["spec"]["data"] == {"source": "folder"}

    @pytest.mark.parametrize(
        ("fields", "pointer", "said"),
        [
            ({}, "/vectors", "required"),
            ({"vectors": "job_x"}, "/vectors", "is not a job's id"),
            ({"vectors": new_id("job")}, "/vectors", "there is no job"),
            ({"neighbours": 1}, "/neighbours", "2"),
            ({"min_dist": 1.0}, "/min_dist", "0.99"),
            ({"landmark": 5}, "/landmark", "landmarks"),
        ],
    )
    def test_what_is_wrong_is_said(self, service, embed_job, fields, pointer, said):
        body = {"kind": "map", "vectors": embed_job, **fields}
        if not fields:
            del body["vectors"]
        answer = service.http.post("/jobs", json=body)
        assert answer.status_code == 422
        assert any(each["pointer"] == pointer and said in each["detail"] for each in answer.json()["errors"]), answer.text

    def test_too_few_vectors_and_another_kind_are_refused(self, service, published):
        few = finished(service, "embed", {"encoder": published.encoder_id}, "x", {"images": 5, "errors": 2, "dim": 8})
        for vectors, said in ((few, "needs 4 or more"), (published.id, "name one of kind embed")):
            answer = service.http.post("/jobs", json={"kind": "map", "vectors": vectors})
            assert answer.status_code == 422 and said in answer.json()["detail"]


class TestMap:
    def test_what_is_on_it(self, service, job, embed_job):
        body = service.http.get(f"/jobs/{job}/map").json()
        assert (body["count"], body["clusters"], body["vectors"]) == (COUNT, 2, embed_job)
        assert body["folders"] == [{"folder": "cats", "count": 8}, {"folder": "<b>dögs", "count": 4}]
        links = service.http.get(f"/jobs/{job}").json()["result"]["links"]
        assert service.http.get(links["map"]).json() == body

    def test_pages_and_filters(self, service, job, columns):
        def rows(**params: Any) -> list[int]:
            return [each["row"] for each in service.http.get(f"/jobs/{job}/map/points", params=params).json()["data"]]

        assert rows(limit=5, skip=10) == [10, 11]
        assert rows(folder="<b>dögs") == [0, 3, 6, 9] and rows(folder="birds") == []
        assert rows(cluster=-1) == [5] and rows(rows="7,2,7") == [7, 2, 7]
        for endless in ("0" * 20 + "999999", "0" * 20 + "9" * 30, "0" * 25 + "1"):
            assert service.http.get(f"/jobs/{job}/map/points", params={"rows": endless}).status_code == 404
        assert rows(order="outlier") == np.argsort(-columns.outlier).tolist()
        first = service.http.get(f"/jobs/{job}/map/points", params={"limit": 1}).json()
        assert first["has_more"] and first["count"] == COUNT
        assert first["data"][0]["path"] == PATHS[0] and first["data"][0]["x"] == pytest.approx(float(columns.xy[0, 0]))

    def test_near_duplicates_are_groups(self, service, job):
        """Each row is near to the next ones, by 0.9, and 0.811 the second: all of them hang together."""
        body = service.http.get(f"/jobs/{job}/map/duplicates", params={"threshold": 0.85}).json()
        assert (body["count"], body["extra"], body["data"][0]["size"]) == (1, COUNT - 1, COUNT)
        assert body["data"][0]["lowest"] == pytest.approx(0.9) and body["data"][0]["data"][0]["path"] == PATHS[0]
        assert service.http.get(f"/jobs/{job}/map/duplicates", params={"threshold": 0.95}).json()["count"] == 0

    def test_one_picture_with_its_nearest(self, service, job):
        body = service.http.get(f"/jobs/{job}/map/points/0").json()
        assert [each["row"] for each in body["nearest"]] == [1, 2, 3] and body["nearest"][0]["score"] == pytest.approx(0.9)
        for row in ("12", "-1", "x"):
            assert service.http.get(f"/jobs/{job}/map/points/{row}").status_code in (404, 422)
        assert service.http.get(f"/jobs/{job}/map/points", params={"rows": "3,12"}).status_code == 404

    def test_the_binary_form_is_the_columns(self, service, job, columns):
        answer = service.http.get(f"/jobs/{job}/map/points.bin")
        assert answer.content[:4] == b"IMAP"
        (length,) = struct.unpack("<I", answer.content[4:8])
        header, body = json.loads(answer.content[8 : 8 + length]), answer.content[8 + length :]
        found = {each["name"]: np.frombuffer(body, np.dtype(each["type"]), COUNT, each["offset"]) for each in header["columns"]}
        assert length % 4 == 0 and (found["x"] == columns.xy[:, 0]).all() and (found["cluster"] == columns.cluster).all()
        assert [header["folders"][code] + "/" for code in found["folder"]] == [path[:-6] for path in PATHS]
        again = service.http.get(f"/jobs/{job}/map/points.bin", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304

    def test_the_arrow_file_is_whole_and_in_parts(self, service, job):
        answer = service.http.get(f"/jobs/{job}/map/points.arrow")
        assert pa.ipc.open_file(answer.content).read_all().column("path").to_pylist() == PATHS
        part = service.http.get(f"/jobs/{job}/map/points.arrow", headers={"Range": "bytes=0-5"})
        assert (part.status_code, part.content) == (206, b"ARROW1")

    def test_thumbnails_are_small_and_those_gone_are_404(self, service, job):
        answer = service.http.get(f"/jobs/{job}/map/thumbnails/3")
        assert answer.headers["content-type"] == "image/jpeg"
        assert max(Image.open(io.BytesIO(answer.content)).size) == 160
        assert service.http.get(f"/jobs/{job}/map/thumbnails/11").status_code == 404

    def test_a_selection_as_a_file(self, service, job):
        body = {"rows": [6, 1], "name": 'my "cats" ü'}
        answer = service.http.post(f"/jobs/{job}/map/export", json=body)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [(each["selection"], each["row"], each["path"]) for each in rows] == [
            (body["name"], "6", PATHS[6]), (body["name"], "1", PATHS[1])
        ]  # fmt: skip
        assert answer.headers["content-disposition"] == 'attachment; filename="my-cats.csv"'
        answer = service.http.post(f"/jobs/{job}/map/export", json={**body, "format": "parquet"})
        table = pq.read_table(io.BytesIO(answer.content))
        assert table.column("folder").to_pylist() == ["<b>dögs", "cats"] and table.column("row").to_pylist() == [6, 1]

    @pytest.mark.parametrize("fields", [{"rows": []}, {"rows": [1, 12]}, {"rows": [-1]}, {"rows": [1], "format": "xls"}, {}])
    def test_a_bad_selection_is_422(self, service, job, fields):
        answer = service.http.post(f"/jobs/{job}/map/export", json=fields)
        assert answer.status_code == 422 and answer.json()["errors"]

    def test_without_a_map_it_is_said_why(self, service, published, embed_job):
        assert "only jobs of kind map" in service.http.get(f"/jobs/{published.id}/map").json()["detail"]
        queued = service.http.post("/jobs", json={"kind": "map", "vectors": embed_job}).json()["id"]
        answer = service.http.get(f"/jobs/{queued}/map/points.bin")
        assert answer.status_code == 409 and "has no map yet" in answer.json()["detail"]
        gone = finished(service, "map", {"kind": "map", "encoder": "enc_x", "vectors": embed_job}, "maps/gone.1", {})
        assert service.http.get(f"/jobs/{gone}/map").status_code == 409
