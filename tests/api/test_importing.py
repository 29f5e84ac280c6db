"""POST /encoders: files of weights come in; what the job makes of them is in tests/journeys/test_import.py."""

from __future__ import annotations

import hashlib
import http.client
import time
from pathlib import Path

import pytest


def imports(service) -> list[Path]:
    folder = service.home / "imports"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def send(service, content=b"weights", **params):
    headers = {"Content-Type": "application/octet-stream"}
    return service.http.post("/encoders", params=params, content=content, headers=headers)


class TestAccepted:
    def test_a_job_is_queued_and_the_file_lies_there(self, service):
        content = bytes(range(256)) * 5000  # several pieces
        before = imports(service)
        answer = send(service, content, filename="a.ckpt", arch="resnet18", size=64, mean="0.5,0.5,0.5", name="mine")
        body = answer.json()
        assert answer.status_code == 202 and answer.headers["location"] == f"/jobs/{body['id']}"
        assert (body["kind"], body["status"], body["name"]) == ("import", "queued", "mine")
        spec = body["spec"]
        assert (spec["arch"], spec["size"], spec["mean"], spec["std"]) == ("resnet18", 64, [0.5, 0.5, 0.5], None)
        assert (spec["sha256"], spec["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        (file,) = set(imports(service)) - set(before)
        assert file.name == spec["upload"] and file.read_bytes() == content
        listed = service.http.get("/jobs?kind=import").json()["data"]
        assert body["id"] in [each["id"] for each in listed]
        service.http.post(f"/jobs/{body['id']}/cancel")

    def test_an_encoder_of_a_job_that_is_not_done_is_told(self, service):
        job = send(service, arch="resnet18").json()["id"]
        answer = service.http.post("/embed", files={"images": b"x"}, data={"encoder": job})
        assert answer.status_code == 409 and "has no encoder yet" in answer.json()["detail"]

    def test_what_was_left_over_goes(self, service):
        import os

        old = service.home / "imports" / "up_old"
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(b"x")
        os.utime(old, (time.time() - 8 * 86_400,) * 2)
        send(service, arch="resnet18")
        assert not old.exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("params", "names"),
        [
            ({"arch": "resnet19"}, "resnet18"),
            ({"size": "4"}, "size"),
            ({"mean": "0.5"}, "three numbers"),
            ({"std": "0,0,0"}, "std"),
            ({"network": "fc"}, "network"),
            ({"filename": "../../etc/passwd"}, "file's name"),
        ],
    )
    def test_before_the_body_is_read(self, service, params, names):
        before = imports(service)
        answer = send(service, **params)
        assert answer.status_code == 422 and names in answer.text and imports(service) == before

    def test_another_kind_of_body(self, service):
        answer = service.http.post("/encoders", json={"a": 1})
        assert answer.status_code == 415 and "the file itself" in answer.json()["detail"]
        assert send(service, b"").status_code == 422

    def test_too_large_is_told_and_nothing_is_left(self, start, tmp_path):
        """Declared, and in pieces without a length."""
        with start(tmp_path / "home", import_bytes=1_000_000) as small:
            assert send(small, b"x" * 1_000_001).status_code == 413
            answer = send(small, (b"x" * 100_000 for _ in range(20)))
            assert answer.status_code == 413 and "larger than" in answer.json()["detail"]
            assert send(small, b"x" * 999_999).status_code == 202
            assert [each.name[:3] for each in imports(small)] == ["up_"]

    def test_a_client_that_goes_away_leaves_nothing(self, service):
        before = imports(service)
        address = service.http.base_url
        connection = http.client.HTTPConnection(address.host, address.port)
        connection.putrequest("POST", "/encoders")
        for name, value in (("Content-Type", "application/octet-stream"), ("Content-Length", "1000000")):
            connection.putheader(name, value)
        connection.endheaders(b"x" * 1000)
        until = time.monotonic() + 10
        while imports(service) == before and time.monotonic() < until:
            time.sleep(0.02)
        assert imports(service) != before
        connection.close()
        while imports(service) != before and time.monotonic() < until:
            time.sleep(0.02)
        assert imports(service) == before

    def test_a_key_that_may_only_read(self, start, tmp_path):
        from jobs.database import connect, migrate
        from jobs.keys import Keys

        home = tmp_path / "home"
        home.mkdir()
        url = f"sqlite:///{home}/imprint.db"
        migrate(url)
        keys = Keys(connect(url))
        reader, _ = keys.create("reader", scopes=["read"])
        sender, _ = keys.create("sender")
        with start(home) as guarded:
            for secret, status in ((reader, 403), (sender, 202)):
                headers = {"Content-Type": "application/octet-stream", "Authorization": f"Bearer {secret}"}
                assert guarded.http.post("/encoders", content=b"weights", headers=headers).status_code == status
