"""POST /embed with a real encoder: three forms of body, three forms of answer, and what happens to bad pictures."""

from __future__ import annotations

import base64
import io
import json
import threading

import numpy as np
import pytest

from ssl_core.embedder import Embedder


@pytest.fixture(scope="module")
def expected(exported, picture):
    """What the encoder itself says to three pictures."""
    return Embedder.load(exported).embed_images([picture(seed) for seed in range(3)])


def b64(data):
    return base64.b64encode(data).decode()


def vectors(answer):
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]], np.float32)


class TestForms:
    def test_multipart(self, service, published, picture, expected):
        job = published
        files = [("images", (f"{seed}.png", picture(seed))) for seed in range(3)]
        answer = service.http.post("/embed", data={"encoder": job.encoder_id}, files=files)
        body = answer.json()
        assert (body["object"], body["encoder"], body["dim"]) == ("list", job.encoder_id, 512)
        assert [each["index"] for each in body["data"]] == [0, 1, 2]
        np.testing.assert_allclose(vectors(answer), expected, rtol=1e-4, atol=1e-5)
        for stage in ("decode", "queue", "infer", "encode"):
            assert f"{stage};dur=" in answer.headers["server-timing"]

    def test_json_base64_and_data_uri(self, service, published, picture, expected):
        images = [b64(picture(0)), "data:image/png;base64," + b64(picture(1)), b64(picture(2)).rstrip("=")]
        answer = service.http.post("/embed", json={"images": images})
        np.testing.assert_allclose(vectors(answer), expected, rtol=1e-4, atol=1e-5)

    def test_one_raw_picture(self, service, published, picture, expected):
        job = published
        answer = service.http.post(
            "/embed", params={"encoder": job.id}, content=picture(1), headers={"Content-Type": "image/png"}
        )
        np.testing.assert_allclose(vectors(answer), expected[1:2], rtol=1e-4, atol=1e-5)

    def test_base64_answer(self, service, published, picture, expected):
        answer = service.http.post("/embed", json={"images": [b64(picture(0))], "encoding_format": "base64"})
        vector = np.frombuffer(base64.b64decode(answer.json()["data"][0]["embedding"]), "<f4")
        np.testing.assert_allclose(vector, expected[0], rtol=1e-4, atol=1e-5)

    def test_npy_answer(self, service, published, picture, expected):
        images = [b64(picture(seed)) for seed in range(3)]
        answer = service.http.post("/embed", json={"images": images}, headers={"Accept": "application/x-npy"})
        assert answer.headers["content-type"] == "application/x-npy"
        found = np.load(io.BytesIO(answer.content), allow_pickle=False)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_normalize(self, service, published, picture, expected):
        answer = service.http.post("/embed", json={"images": [b64(picture(0))], "normalize": True})
        np.testing.assert_allclose(vectors(answer)[0], expected[0] / np.linalg.norm(expected[0]), rtol=1e-4, atol=1e-5)

    def test_options_of_a_form(self, service, published, picture):
        data = {"normalize": "true", "encoding_format": "float"}
        answer = service.http.post("/embed", data=data, files={"images": ("a.png", picture(0))})
        assert np.linalg.norm(vectors(answer)) == pytest.approx(1, abs=1e-5)


class TestEncoder:
    def test_latest_job_and_alias(self, service, publish, picture):
        old, new = publish(), publish()
        service.http.put("/aliases/production", json={"encoder": old.encoder_id})

        def used(**fields):
            return service.http.post("/embed", json={"images": [b64(picture())], **fields}).json()["encoder"]

        assert used() == new.encoder_id
        assert used(encoder="latest") == new.encoder_id
        assert used(encoder=old.id) == old.encoder_id
        assert used(encoder="production") == old.encoder_id

    def test_unknown(self, service, picture):
        for name in ("enc_" + "0" * 26, "job_" + "0" * 26, "nobody", "../../etc", "a\0b", ""):
            answer = service.http.post("/embed", json={"encoder": name, "images": [b64(picture())]})
            assert answer.status_code == 404, (name, answer.text)

    def test_a_job_without_an_encoder_yet(self, service, submit, picture):
        answer = service.http.post("/embed", json={"encoder": submit().id, "images": [b64(picture())]})
        assert answer.status_code == 409 and "queued" in answer.json()["detail"]

    def test_damaged_files(self, service, publish, picture):
        job = publish()
        folder = next((service.home / "encoders").glob(f"{job.encoder_id}.*"))
        for file in (folder / "model.safetensors", folder / "openvino.bin"):
            file.write_bytes(file.read_bytes()[:-1] + b"!")
        answer = service.http.post("/embed", json={"encoder": job.id, "images": [b64(picture())]})
        assert answer.status_code == 409 and str(service.home) not in answer.text
        publish()  # the damaged one is not the latest for the tests that follow


class TestBadPictures:
    def test_fail_names_the_picture(self, service, published, picture):
        images = [b64(picture()), b64(b"no picture"), b64(picture()), "%%%"]
        answer = service.http.post("/embed", json={"images": images})
        assert answer.status_code == 422
        assert [each["pointer"] for each in answer.json()["errors"]] == ["/images/1", "/images/3"]

    def test_null_keeps_the_others(self, service, published, picture, expected):
        images = [b64(b"no picture"), b64(picture(1)), "http://example.org/cat.jpg", b64(picture(2))]
        data = service.http.post("/embed", json={"images": images, "on_error": "null"}).json()["data"]
        assert [each["index"] for each in data] == [0, 1, 2, 3]
        assert data[0]["embedding"] is None and data[0]["error"]["message"]
        assert data[2]["embedding"] is None and "not fetched" in data[2]["error"]["message"]
        np.testing.assert_allclose([data[1]["embedding"], data[3]["embedding"]], expected[1:], rtol=1e-4, atol=1e-5)

    def test_null_as_npy_has_rows_of_nan(self, service, published, picture):
        body = {"images": ["", b64(picture())], "on_error": "null"}
        answer = service.http.post("/embed", json=body, headers={"Accept": "application/x-npy"})
        found = np.load(io.BytesIO(answer.content))
        assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()

    def test_all_bad(self, service, published):
        answer = service.http.post("/embed", json={"images": ["", "?"], "on_error": "null"})
        assert [each["embedding"] for each in answer.json()["data"]] == [None, None]

    def test_a_truncated_picture(self, service, published, picture):
        content = picture(side=200, form="JPEG")
        answer = service.http.post("/embed", content=content[: len(content) // 2], headers={"Content-Type": "image/jpeg"})
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/images/0"


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/images"),
            ({"images": []}, "/images"),
            ({"images": "abc"}, "/images"),
            ({"images": [1]}, "/images/0"),
            ({"images": ["a"], "encoding_fromat": "float"}, "/encoding_fromat"),
            ({"images": ["a"], "encoding_format": "hex"}, "/encoding_format"),
            ({"images": ["a"], "on_error": "skip"}, "/on_error"),
            ({"images": ["a"], "encoder": None}, "/encoder"),
        ],
    )
    def test_wrong_bodies(self, service, body, pointer):
        answer = service.http.post("/embed", json=body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer

    def test_too_many_pictures(self, service, picture):
        answer = service.http.post("/embed", json={"images": ["a"] * 257})
        assert answer.status_code == 413 and "256" in answer.json()["detail"]
        files = [("images", (f"{n}.png", b"x")) for n in range(300)]
        assert service.http.post("/embed", files=files).status_code == 413

    def test_empty_forms(self, service):
        assert service.http.post("/embed", files={"other": ("a", b"x")}).status_code == 422
        assert service.http.post("/embed", content=b"", headers={"Content-Type": "image/png"}).status_code == 422
        content_type = {"Content-Type": "multipart/form-data; boundary=x"}
        for content in (b"", b"--x--\r\n", b"--x\r\n\r\n", b"garbage", b"\xff\xfe"):
            assert service.http.post("/embed", content=content, headers=content_type).status_code == 422, content
        for header in (
            "multipart/form-data",
            "multipart/form-data; boundary=x; charset=base64",
            "multipart/form-data; boundary=",
        ):
            answer = service.http.post("/embed", content=b"--x\r\n", headers={"Content-Type": header})
            assert answer.status_code == 422, header

    def test_other_forms(self, service):
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "video/mp4"):
            answer = service.http.post("/embed", content=b"x", headers={"Content-Type": content_type})
            assert answer.status_code == 415
        answer = service.http.post("/embed", json={"images": ["a"]}, headers={"Accept": "text/html"})
        assert answer.status_code == 406

    def test_too_large(self, service):
        def chunks():
            for _ in range(66):
                yield b"\0" * 2**20

        answer = service.http.post("/embed", content=chunks(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 413 and "64 MiB" in answer.json()["detail"]
        answer = service.http.post("/embed", content=b"\0" * (33 * 2**20), headers={"Content-Type": "image/png"})
        assert answer.status_code in (413, 422) and "32 MiB" in json.dumps(answer.json())


class TestTogether:
    def test_requests_at_once_get_their_own_vectors(self, service, published, picture, expected):
        found = {}

        def one(number):
            seed = number % 3
            answer = service.http.post("/embed", json={"images": [b64(picture(seed))] * (1 + number % 2)})
            found[number] = (seed, vectors(answer))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 24
        for seed, got in found.values():
            for row in got:
                np.testing.assert_allclose(row, expected[seed], rtol=1e-3, atol=1e-4)

    def test_too_much_at_once_is_told_when_to_come_back(self, service, published, picture):
        service.services.batcher.pending += service.services.batcher.max_pending
        try:
            answer = service.http.post("/embed", json={"images": [b64(picture())]})
        finally:
            service.services.batcher.pending -= service.services.batcher.max_pending
        assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
        assert service.http.post("/embed", json={"images": [b64(picture())]}).status_code == 200
