"""POST /datasets with a ZIP: what becomes of good ones, bad ones, broken ones and those too large; and DELETE /datasets."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from collections.abc import Iterator

import pytest

from support.archives import Entry, pictures, png, written, zipped
from support.uploading import ZIP, left, post


@pytest.fixture(scope="module")
def small(start, tmp_path_factory) -> Iterator:
    """A service that takes archives of 200,000 bytes which unpack to as many."""
    with start(tmp_path_factory.mktemp("small"), upload_bytes=200_000, unpacked_bytes=200_000) as running:
        yield running


class TestGood:
    def test_a_zip_becomes_a_dataset(self, service):
        answer = post(service, zipped({**pictures(), "notes.txt": b"hello"}))
        made = answer.json()
        assert answer.status_code == 201 and answer.headers["location"] == f"/datasets/{made['id']}"
        assert made["images"] + made["held_out"] == 16 and made["classes"] == 2 and made["path"] is None
        assert made["archive"]["left_out"] == 1 and made["archive"]["left_out_examples"] == ["notes.txt"]
        assert service.http.get(f"/datasets/{made['id']}").json() == made
        folder = service.home / "datasets" / made["id"]
        assert {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*.*")} == pictures()
        assert left(service) == set()

    def test_a_form(self, service):
        data = zipped(pictures(3))
        for order in ({"name": (None, "pets"), "file": ("a.zip", data)}, {"file": ("a.zip", data), "name": (None, "pets")}):
            answer = service.http.post("/datasets", files=order)
            assert answer.status_code == 201 and answer.json()["name"] == "pets", answer.text
            assert answer.json()["images"] + answer.json()["held_out"] == 6
        assert service.http.post("/datasets", params={"name": "q"}, files={"file": ("a.zip", data)}).json()["name"] == "q"

    def test_jobs_train_on_it(self, service):
        made = post(service, zipped(pictures())).json()
        body = {"data": {"source": "dataset", "id": made["id"]}, "trainer": {"max_epochs": 1, "batch_size": 4}}
        job = service.http.post("/jobs", json=body).json()
        assert job["spec"]["data"] | {"source": "folder", "path": ".", "dataset": made["id"]} == job["spec"]["data"]
        again = service.http.post("/jobs", params={"validate_only": True}, json=job["spec"])
        assert again.status_code == 200 and again.json()["data"]["images"] == made["images"], again.text
        preview = service.http.post("/preview", json=body, params={"images": 1})
        assert preview.status_code == 200 and preview.content.startswith(b"\x89PNG")

    def test_other_kinds_take_it_too(self, service, published):
        made = post(service, zipped(pictures())).json()
        data = {"source": "dataset", "id": made["id"]}
        for body in ({"kind": "embed"}, {"kind": "linear_probe"}):
            answer = service.http.post("/jobs", json={**body, "encoder": published.encoder_id, "data": data})
            assert answer.status_code == 202 and answer.json()["spec"]["data"]["dataset"] == made["id"], answer.text


class TestBroken:
    def begin(self, running, data, upto, key, size=None):
        """Send the head and `upto` bytes of the body, and hang up once they have arrived."""
        url = running.http.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            head = f"POST /datasets?name=pets HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\n{key}"
            connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % (size or len(data)) + data[:upto])
            until = time.monotonic() + 10
            while upto and not self.arrived(running) and time.monotonic() < until:
                time.sleep(0.02)
        until = time.monotonic() + 10
        while running.services.uploading.total() and time.monotonic() < until:
            time.sleep(0.02)
        assert running.services.uploading.total() == 0

    @staticmethod
    def arrived(running):
        folder = running.services.settings.datasets / ".uploads"
        return max((each.stat().st_size for each in folder.glob("*.zip")), default=0) if folder.is_dir() else 0

    def test_goes_on_where_it_was(self, service):
        data = zipped({**pictures(), "noise.png": png(9, 1200)})
        key = {"Idempotency-Key": "broken-1"}
        assert service.http.get("/datasets/uploads", headers=key).json() == {"offset": 0, "dataset": None}
        self.begin(service, data, 3_000_000, "Idempotency-Key: broken-1\r\n")
        came = service.http.get("/datasets/uploads", headers=key).json()["offset"]
        assert 2**20 <= came <= 3_000_000, "whole pieces of what arrived"
        too_far = post(service, data[came + 1 :], headers=key, offset=came + 1)
        assert too_far.status_code == 409 and f"{came} bytes" in too_far.json()["detail"]
        answer = post(service, data[came:], headers=key, offset=came)
        assert answer.status_code == 201 and answer.json()["images"] + answer.json()["held_out"] == 17
        assert service.http.get("/datasets/uploads", headers=key).json() == {"offset": 0, "dataset": answer.json()["id"]}
        replayed = post(service, data, headers=key)
        assert replayed.json() == answer.json() and replayed.headers["idempotency-replayed"] == "true"
        assert post(service, zipped(pictures(1)), headers=key).status_code == 422, "another archive with this key"
        assert left(service) == set()

    def test_without_a_key_nothing_stays(self, service):
        data = zipped({"noise.png": png(9, 1200)})
        self.begin(service, data, 2_000_000, "")
        assert left(service) == set()

    def test_a_form_that_breaks_off_leaves_nothing(self, service):
        url = service.http.base_url
        with socket.create_connection((url.host, url.port), timeout=20) as connection:
            connection.sendall(b"POST /datasets?name=a HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n")
            connection.sendall(b"Content-Length: 9000000\r\nIdempotency-Key: form\r\n\r\n--b\r\nContent-Disposition: form-data; ")
            connection.sendall(b'name="file"; filename="a.zip"\r\n\r\nPK' + bytes(2_000_000))
        until = time.monotonic() + 10
        while (service.services.uploading.total() or left(service)) and time.monotonic() < until:
            time.sleep(0.02)
        assert left(service) == set()

    def test_offset_needs_a_key(self, service):
        assert post(service, b"PK", offset=2).json()["errors"][0]["pointer"] == "/offset"


class TestRefused:
    @pytest.mark.parametrize(
        ("data", "status", "words"),
        [
            (b"", 422, "empty"),
            (b"not an archive at all" * 30, 422, "not a ZIP"),
            (zipped({"a.txt": b"x"}), 422, "holds no pictures"),
            (zipped({}), 422, "holds no pictures"),
            (written([Entry("../../a.png", png(0))]), 422, "plain path"),
            (written([Entry("a.png", b"/etc/passwd", attributes=0o120777 << 16)]), 422, "symbolic link"),
            (written([Entry("ok.png", png(0)), Entry("a.png", png(1), sum=1, local_sum=1)]), 422, "checksum"),
            (b"\x1f\x8b\x08" + bytes(600), 415, "gzip"),
            (b"7z\xbc\xaf\x27\x1c" + bytes(600), 415, "7z"),
        ],
    )
    def test_with_a_reason_and_nothing_stays(self, service, data, status, words):
        answer = post(service, data)
        assert answer.status_code == status and words in answer.json()["detail"], answer.text
        assert left(service) == set()

    def test_tar(self, service):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("a.png"), io.BytesIO())
        for kind in ("application/zip", "application/x-tar", "application/gzip"):
            answer = post(service, file.getvalue(), headers={"Content-Type": kind})
            assert answer.status_code == 415 and "only ZIP archives" in answer.json()["detail"].replace("Only", "only")

    def test_without_a_name(self, service):
        answer = service.http.post("/datasets", content=zipped(pictures(1)), headers=ZIP)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/name"
        assert left(service) == set()

    @pytest.mark.parametrize(
        "form",
        [
            {"other": ("a.zip", b"PK")},
            {"name": (None, "x")},
            {"file": ("a.zip", b"PK"), "name": (None, "x" * 5000)},
            [("file", ("a.zip", b"PK")), ("file", ("b.zip", b"PK"))],
        ],
    )
    def test_forms(self, service, form):
        assert service.http.post("/datasets", params={"name": "q"}, files=form).status_code == 422
        assert left(service) == set()

    def test_too_many_at_once(self, service, monkeypatch):
        monkeypatch.setattr("api.uploads.MOST", 0)
        answer = post(service, zipped(pictures(1)))
        assert answer.status_code == 429 and "retry-after" in answer.headers


class TestTooLarge:
    def test_by_its_head(self, small):
        answer = post(small, bytes(400_000))
        assert answer.status_code == 413 and left(small) == set()

    def test_by_what_comes(self, small):
        """Without a length: told while it arrives, though more would come for ever."""
        sent = 0

        def endless():
            nonlocal sent
            yield b"PK\3\4"
            while sent < 50_000_000:
                sent += 50_000
                yield bytes(50_000)

        answer = small.http.post("/datasets", params={"name": "a"}, content=endless(), headers=ZIP)
        assert answer.status_code == 413 and " bytes" in answer.json()["detail"] and left(small) == set()

    def test_by_what_is_in_it(self, small):
        bmp = b"BM" + bytes(250_000)
        answer = post(small, zipped({"a.bmp": bmp}))
        assert answer.status_code == 413 and "unpacks to more" in answer.json()["detail"] and left(small) == set()

    def test_an_owner_s_share(self, start, tmp_path):
        """What is there counts, what is deleted does not; a request that is sent again is answered; nothing half stays."""
        photo = png(1, 100)
        with start(tmp_path, owner_bytes=3 * len(photo) - 1) as running:
            one, two = zipped({"a.png": photo}), zipped({"a.png": photo, "b.png": photo})
            first = post(running, one, headers={"Idempotency-Key": "first"})
            assert first.status_code == 201
            too_much = post(running, two)
            assert too_much.status_code == 413, too_much.text
            assert f"{3 * len(photo) - 1:,} bytes" in too_much.json()["detail"] and left(running) == set()
            assert post(running, one, headers={"Idempotency-Key": "second"}).status_code == 201
            assert post(running, zipped({"a.png": png(2, 8)})).status_code == 201  # the rest
            for data in (one, two):
                assert post(running, data).status_code == 413 and left(running) == set()
            again = post(running, one, headers={"Idempotency-Key": "first"})
            assert again.is_success and again.json() == first.json()
            assert running.http.delete(f"/datasets/{first.json()['id']}").status_code == 204
            assert post(running, one).status_code == 201

    def test_no_memory_for_it(self, start, tmp_path):
        """A hundred MiB go by; the process grows by less than a third of that."""
        with start(tmp_path) as running:
            post(running, zipped(pictures(1)))
            before = _resident()
            most = 0

            def pieces():
                nonlocal most
                yield b"PK\3\4"
                for _ in range(100):
                    most = max(most, _resident())
                    yield bytes(2**20)

            answer = running.http.post("/datasets", params={"name": "a"}, content=pieces(), headers=ZIP)
            assert answer.status_code == 422
            assert most - before < 33 * 2**20


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
