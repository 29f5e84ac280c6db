"""Encoders that leave over HTTP, and their cards."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime

import pytest

from api import exporting
from jobs.records import Point, Report, ResultDraft

MISSING = "enc_" + "0" * 26


@pytest.fixture(scope="module")
def measured(service, exported, put_encoder):
    """An encoder whose job has curves and a licence, and a linear probe of it."""
    from jobs.artifacts import Artifacts  # what a worker does, but with metrics on the way
    from jobs.records import EncoderDraft, JobDraft

    repository = service.repository
    spec = {"data": {"source": "digits"}, "trainer": {"max_epochs": 5}}
    job = repository.create(JobDraft("tiny", "pretrain", "simclr", spec, labels={"license": "MIT"}))
    attempt = repository.claim(job.id, "test", 60).attempt
    points = [Point("train_loss", step, 0, 4.0 - step / 10, datetime.now(UTC)) for step in range(10)]
    health = {"verdict": "healthy", "reasons": ["spread"]}
    repository.record(
        job.id, attempt, Report(points=points, health=health, data={"held_out": 360, "fingerprint": "sha256:0"}), 60
    )
    folder = Artifacts(service.home).publish(job.id, attempt, exported)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
    encoder = repository.succeed(job.id, attempt, EncoderDraft(folder=str(folder), **known))
    probe = {"kind": "linear_probe", "encoder": encoder, "data": {"source": "folder", "path": "pets"}, "seed": 0}
    other = repository.create(JobDraft(None, "linear_probe", "linear_probe", probe))
    attempt = repository.claim(other.id, "test", 60).attempt
    found = {"top1": 88.5, "settings": {"protocol": "lbfgs"}, "fingerprint": "sha256:1"}
    repository.finish(other.id, attempt, ResultDraft("results/none", found))
    return encoder


class TestCard:
    def test_has_what_the_service_knows(self, service, measured):
        answer = service.http.get(f"/encoders/{measured}/card")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/markdown")
        for part in (
            "# tiny",
            "license: mit",
            "| method | simclr |",
            "360 more held out",
            "`sha256:0`",
            "data:image/svg+xml;base64,",
            "**healthy**: spread",
            "| at the end of pretraining | digits | knn_top1 | 50 | 1 |",
            "| linear\\_probe lbfgs | folder pets | top1 | 88.5 | 1 |",
            'onnxruntime.InferenceSession("model.onnx")',
        ):
            assert part in answer.text, part
        assert "torch.jit.load" in service.http.get(f"/encoders/{measured}/card?format=torchscript").text

    def test_what_is_not_there(self, service, measured):
        assert service.http.get(f"/encoders/{MISSING}/card").status_code == 404
        refused = service.http.get(f"/encoders/{measured}/card?format=timm")
        assert refused.status_code == 422 and "resnet18 is not one of timm's networks" in refused.json()["detail"]


class TestExport:
    def test_is_made_once_and_agrees(self, service, measured, monkeypatch):
        """The first takes the seconds of a process that imports torch."""
        answer = service.http.get(f"/encoders/{measured}/export?format=onnx")
        assert answer.status_code == 200, answer.text
        assert (
            answer.headers["content-type"] == "application/zip"
            and f"{measured}-onnx.zip" in answer.headers["content-disposition"]
        )
        digest = hashlib.sha256(answer.content).digest()
        assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest).decode()}:"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            about = json.loads(archive.read("imprint.json"))
            assert {"model.onnx", "README.md", "curves.svg"} <= set(archive.namelist())
            assert "| linear\\_probe lbfgs | folder pets | top1 | 88.5 | 1 |" in archive.read("README.md").decode()
        assert about["check"]["least_cosine"] > 0.99999 and about["encoder"]["id"] == measured

        monkeypatch.setattr(exporting, "_make", None)  # a second making would fail
        again = service.http.get(f"/encoders/{measured}/export?format=onnx")
        assert again.content == answer.content
        part = service.http.get(f"/encoders/{measured}/export?format=onnx", headers={"Range": "bytes=100-199"})
        assert part.status_code == 206 and part.content == answer.content[100:200]
        assert [each.suffix for each in sorted((service.home / "exports" / measured).iterdir())] == [".sha256", ".zip"]

    def test_what_cannot_be(self, service, measured):
        assert service.http.get(f"/encoders/{MISSING}/export?format=onnx").status_code == 404
        assert service.http.get(f"/encoders/{measured}/export").status_code == 422
        assert service.http.get(f"/encoders/{measured}/export?format=exe").status_code == 422
        refused = service.http.get(f"/encoders/{measured}/export?format=timm")
        assert refused.status_code == 422 and "take safetensors, hf, onnx or torchscript" in refused.json()["detail"]

    def test_a_damaged_encoder_is_a_conflict_that_says_so(self, service, publish):
        job = publish()
        record = service.repository.encoder(job.encoder_id)
        (service.services.encoder_folder(record) / "model.safetensors").write_bytes(b"x")
        answer = service.http.get(f"/encoders/{job.encoder_id}/export?format=safetensors")
        assert answer.status_code == 409 and "model.safetensors has 1 bytes" in answer.json()["detail"]

    def test_too_many_at_once_are_told_to_wait(self, service, publish, monkeypatch):
        import threading

        monkeypatch.setattr(exporting, "_places", threading.BoundedSemaphore(1))
        exporting._places.acquire()
        answer = service.http.get(f"/encoders/{publish().encoder_id}/export?format=hf")
        assert answer.status_code == 429 and answer.headers["retry-after"] == "10"

    def test_the_longest_unused_go_first(self, tmp_path, monkeypatch):
        import os

        monkeypatch.setattr(exporting, "KEPT_BYTES", 25)
        for age, name in enumerate(["new", "used", "old", "older"]):
            (tmp_path / name).mkdir()
            (tmp_path / name / "onnx.zip").write_bytes(b"x" * 10)
            os.utime(tmp_path / name / "onnx.zip", (1000 - age, 1000))
        exporting._make_room(tmp_path, tmp_path / "new" / "onnx.zip")
        assert sorted(each.parent.name for each in tmp_path.glob("*/*.zip")) == ["new", "used"]
