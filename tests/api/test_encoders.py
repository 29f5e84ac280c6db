"""/encoders, their download, and /aliases."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile

import pytest

from ssl_core.embedder import Embedder

MISSING = "enc_" + "0" * 26


class TestList:
    def test_shape_and_order(self, service, publish):
        old, new = publish(), publish()
        body = service.http.get("/encoders").json()
        assert body["object"] == "list" and isinstance(body["has_more"], bool)
        assert [each["id"] for each in body["data"][:2]] == [new.encoder_id, old.encoder_id]
        first = body["data"][0]
        assert set(first) == {
            *("id", "job_id", "arch", "dim", "method", "created_at"),
            *("metrics", "aliases", "sha256", "size_bytes", "owner", "shared"),
        }
        assert (first["job_id"], first["arch"], first["dim"], first["metrics"]["knn_top1"]) == (new.id, "resnet18", 512, 50.0)

    def test_pages(self, service, publish):
        publish(), publish()
        first = service.http.get("/encoders?limit=1").json()
        second = service.http.get("/encoders", params={"limit": 1, "after": first["last_id"]}).json()
        assert first["has_more"] and first["data"][0]["id"] > second["data"][0]["id"]

    def test_the_job_names_its_encoder(self, service, publish):
        job = publish()
        body = service.http.get(f"/jobs/{job.id}").json()
        assert body["status"] == "succeeded" and body["encoder"] == job.encoder_id
        assert body["links"]["encoder"] == f"/encoders/{job.encoder_id}"


class TestGet:
    def test_with_manifest(self, service, publish):
        body = service.http.get(f"/encoders/{publish().encoder_id}").json()
        assert body["manifest"]["preprocessing"]["size"] == 32
        assert service.http.get(body["links"]["download"]).status_code == 200

    def test_unknown(self, service):
        for name in (MISSING, "enc_x", "..%2f..", "%00"):
            assert service.http.get(f"/encoders/{name}").status_code == 404, name


class TestDownload:
    def test_the_zip_loads_elsewhere(self, service, publish, tmp_path, picture):
        job = publish()
        answer = service.http.get(f"/encoders/{job.encoder_id}/download")
        assert answer.headers["content-type"] == "application/zip"
        assert f"{job.encoder_id}.zip" in answer.headers["content-disposition"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            parts = ["manifest.json", "model.safetensors", "openvino.bin", "openvino.xml", "projection.safetensors"]
            assert sorted(archive.namelist()) == parts
            archive.extractall(tmp_path)
        manifest = json.loads((tmp_path / "manifest.json").read_bytes())
        assert hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest() == manifest["sha256"]
        for extra in ([], parts[2:]):
            for name in extra:
                (tmp_path / name).unlink()
            assert Embedder.load(tmp_path).embed_images([picture()]).shape == (1, 512)

    def test_unknown(self, service):
        assert service.http.get(f"/encoders/{MISSING}/download").status_code == 404


class TestAliases:
    def test_name_and_move(self, service, publish):
        old, new = publish(), publish()
        for job in (old, new):
            answer = service.http.put("/aliases/my-photos", json={"encoder": job.encoder_id})
            assert answer.status_code == 200
            assert (answer.json()["name"], answer.json()["encoder"]) == ("my-photos", job.encoder_id)
        listed = {each["name"]: each["encoder"] for each in service.http.get("/aliases").json()["data"]}
        assert listed["my-photos"] == new.encoder_id
        aliases = {each["id"]: each["aliases"] for each in service.http.get("/encoders").json()["data"]}
        assert "my-photos" in aliases[new.encoder_id] and "my-photos" not in aliases[old.encoder_id]

    @pytest.mark.parametrize("name", ["latest", "a b", "%00", "x" * 65, ".hidden", "job_1", "enc_1"])
    def test_names_that_are_refused(self, service, publish, name):
        job = publish()
        assert service.http.put(f"/aliases/{name}", json={"encoder": job.encoder_id}).status_code == 422

    def test_encoders_that_are_not_there(self, service):
        assert service.http.put("/aliases/a", json={"encoder": MISSING}).status_code == 404
        assert service.http.put("/aliases/a", json={"encoder": "a\0"}).status_code == 422
        assert service.http.put("/aliases/a", json={}).status_code == 422
