"""/datasets: folders below the data root under an id."""

from __future__ import annotations

import base64
import io
import shutil

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def folder(service):
    """Two classes of five pictures."""
    for name in ("cat", "dog"):
        (service.data_root / "pets" / name).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (40, 40), (number * 50, 0, 0)).save(service.data_root / "pets" / name / f"{number}.png")


class TestRegister:
    def test_register_get_list(self, service, folder):
        answer = service.http.post("/datasets", json={"name": "pets", "path": "pets"})
        made = answer.json()
        assert answer.status_code == 201 and answer.headers["location"] == f"/datasets/{made['id']}"
        assert made["id"].startswith("ds_") and made["images"] + made["held_out"] == 10 and made["classes"] == 2
        assert service.http.get(f"/datasets/{made['id']}").json() == made
        assert service.http.get("/datasets").json()["data"][0] == made

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"name": "x", "path": "nowhere"}, "/path"),
            ({"name": "x", "path": "../.."}, "/path"),
            ({"name": "x", "path": "/etc"}, "/path"),
            ({"name": "x", "path": "a\0b"}, "/path"),
            ({"name": "x"}, "/path"),
            ({"name": "", "path": "pets"}, "/name"),
            ({"name": "x", "pth": "pets"}, "/pth"),
        ],
    )
    def test_refused(self, service, folder, body, pointer):
        answer = service.http.post("/datasets", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer

    def test_idempotency_key(self, service, folder):
        def post(name):
            return service.http.post("/datasets", json={"name": name, "path": "pets"}, headers={"Idempotency-Key": "d1"})

        assert post("a").json() == post("a").json()
        assert post("b").status_code == 422

    def test_unknown(self, service):
        assert service.http.get(f"/datasets/ds_{'0' * 26}").status_code == 404


class TestSamples:
    def test_some_pictures_evenly_spread(self, service, folder):
        (service.data_root / "pets" / "cat" / "2.png").write_bytes(b"broken")
        made = service.http.post("/datasets", json={"name": "pets", "path": "pets"}).json()
        body = service.http.get(f"/datasets/{made['id']}/samples", params={"limit": 5}).json()
        assert [each["path"] for each in body["data"]] == ["cat/0.png", "cat/2.png", "cat/4.png", "dog/1.png", "dog/3.png"]
        assert body["data"][1]["thumbnail"] is None
        uri = body["data"][0]["thumbnail"]
        assert uri.startswith("data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            assert image.size == (40, 40) and image.getpixel((5, 5))[0] < 10

    def test_of_a_folder_that_is_gone(self, service, folder):
        (service.data_root / "passing").mkdir()
        Image.new("RGB", (8, 8)).save(service.data_root / "passing" / "1.png")
        made = service.http.post("/datasets", json={"name": "p", "path": "passing"}).json()
        shutil.rmtree(service.data_root / "passing")
        answer = service.http.get(f"/datasets/{made['id']}/samples")
        assert answer.status_code == 404 and "passing" in answer.json()["detail"]

    @pytest.mark.parametrize("limit", [0, 25, "x"])
    def test_limits(self, service, limit):
        assert service.http.get(f"/datasets/ds_{'0' * 26}/samples", params={"limit": limit}).status_code == 422
        assert service.http.get(f"/datasets/ds_{'0' * 26}/samples").status_code == 404
