"""POST /preview and GET /jobs/{id}/preview: the sheet itself, the faults of POST /jobs, and one drawing at a time."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from api import preview
from api.examples import PREVIEW

DIGITS = {"source": "digits"}
FAULTS = [
    {},
    {"data": {"source": "digit"}},
    {"data": {"source": "folder", "path": "../.."}},
    {"data": {"source": "folder", "path": "nowhere"}},
    {"data": {"source": "dataset", "id": "ds_" + "0" * 26}},
    {"data": DIGITS, "preset": "byo", "augment": {"flip": 2, "crop_scale": [1, 0.2]}, "nonsense": 1},
    {"data": DIGITS, "trainer": {"batch_size": 100_000}},
    {"data": DIGITS, "labels": {"": "x"}, "name": ""},
]


def size_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "PNG"
        image.load()
        return image.size


@pytest.fixture(scope="module")
def photos(service, picture):
    """Six pictures below the data root, and a file that is none."""
    folder = service.data_root / "photos"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "broken.png").write_bytes(b"no picture")
    return "photos"


class TestBeforeAJob:
    def test_is_the_sheet_of_ssl_core(self, service):
        """Of the very spec that POST /jobs would queue. Takes its time: the service imports torch for its first preview."""
        from ssl_core.preview import contact_sheet
        from ssl_core.spec import TrainSpec

        body = {"data": DIGITS, "preset": "byol", "trainer": {"seed": 5}}
        answer = service.http.post("/preview?images=3", json=body)
        size_of(answer)
        spec = service.http.post("/jobs?validate_only=true", json=body).json()["spec"]
        assert answer.content == contact_sheet(TrainSpec.model_validate(spec), service.data_root, images=3)

    def test_a_folder_with_a_broken_file(self, service, photos):
        wide, high = size_of(service.http.post("/preview", json={"data": {"source": "folder", "path": photos}}))
        assert wide > 500 and high > 500

    def test_a_registered_dataset(self, service, photos):
        made = service.http.post("/datasets", json={"name": "photos", "path": photos}).json()
        by_id = service.http.post("/preview", json={"data": {"source": "dataset", "id": made["id"]}})
        assert by_id.content == service.http.post("/preview", json={"data": {"source": "folder", "path": photos}}).content

    @pytest.mark.parametrize("name", PREVIEW)
    def test_every_example(self, service, name):
        size_of(service.http.post("/preview", json=PREVIEW[name]))

    def test_more_images_are_more_rows(self, service):
        heights = [size_of(service.http.post(f"/preview?images={images}", json={"data": DIGITS}))[1] for images in (1, 2, 4)]
        assert heights[2] - heights[1] == 2 * (heights[1] - heights[0]) > 200

    def test_nothing_is_created(self, service):
        before = service.http.get("/jobs").json()["data"]
        service.http.post("/preview", json={"data": DIGITS}, headers={"Idempotency-Key": "k"})
        assert service.http.get("/jobs").json()["data"] == before


class TestRefused:
    @pytest.mark.parametrize("body", FAULTS)
    def test_the_faults_are_those_of_a_job(self, service, body):
        said, wanted = (service.http.post(path, json=body) for path in ("/preview", "/jobs"))
        assert said.status_code == wanted.status_code == 422
        assert said.headers["content-type"] == "application/problem+json"
        for name in ("detail", "errors", "title", "type"):
            assert said.json()[name] == wanted.json()[name]

    @pytest.mark.parametrize("images", ["0", "33", "-1", "x", "1e9", "%00"])
    def test_how_many_images(self, service, images):
        answer = service.http.post(f"/preview?images={images}", json={"data": DIGITS})
        assert answer.status_code == 422 and answer.json()["errors"][0]["parameter"] == "images"

    def test_what_only_shows_when_the_pictures_are_opened(self, service, picture):
        """Headers that are right and pixels that are missing: a job would be queued, and fail."""
        folder = service.data_root / "cut"
        folder.mkdir()
        for number in range(9):
            (folder / f"{number}.png").write_bytes(picture(number)[:200])
        body = {"data": {"source": "folder", "path": "cut"}}
        assert service.http.post("/jobs?validate_only=1", json=body).status_code == 200
        answer = service.http.post("/preview", json=body)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/data/path"
        assert "unreadable" in answer.json()["detail"]

    def test_a_download_is_left_to_a_job(self, service):
        answer = service.http.post("/preview", json={"data": {"source": "cifar10", "download": True}})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/data/download"
        assert not (service.data_root / "cifar-10-batches-py").exists()

    def test_the_service_is_stopping(self, start, tmp_path):
        with start(tmp_path) as running:
            running.services.draining.set()
            answer = running.http.post("/preview", json={"data": DIGITS})
            assert answer.status_code == 503 and "retry-after" in answer.headers


class TestOneAtATime:
    def test_a_few_wait_and_the_rest_is_told_to_come_back(self, service):
        """The one drawing is held up by taking its lock, as another drawing would."""
        size_of(service.http.post("/preview?images=1", json={"data": DIGITS}))  # torch is imported
        with ThreadPoolExecutor(preview.PLACES) as pool:
            with preview._one:
                waiting = [
                    pool.submit(service.http.post, "/preview?images=1", json={"data": DIGITS}) for _ in range(preview.PLACES)
                ]
                answer = refused(service)
                assert answer.json()["type"] == "/docs#busy" and int(answer.headers["retry-after"]) > 0
                assert service.http.get("/livez").elapsed.total_seconds() < 2
                assert not any(each.done() for each in waiting)
            for each in waiting:
                size_of(each.result(30))
        size_of(service.http.post("/preview?images=1", json={"data": DIGITS}))

    def test_a_place_is_given_back_whatever_happens(self, service):
        for _ in range(2 * preview.PLACES):
            answer = service.http.post("/preview", json={"data": {"source": "cifar10", "download": True}})
            assert answer.status_code == 422


def refused(service):
    """The first answer that is not a wait for a place; polled, since the others are still on their way to theirs."""
    for _ in range(200):
        if preview._places._value == 0:
            answer = service.http.post("/preview?images=1", json={"data": DIGITS})
            assert answer.status_code == 429, answer.text
            return answer
        time.sleep(0.05)
    raise AssertionError("the places were never taken")


class TestOfAJob:
    def attempt(self, service, job, content: bytes | None) -> None:
        """Another attempt at the job, which is stopped after it has written its sheet, or before."""
        claim = service.repository.claim(job.id, "test", 60)
        folder = service.services.artifacts.attempt_folder(job.id, claim.attempt)
        folder.mkdir(parents=True)
        if content is not None:
            (folder / preview.FILE).write_bytes(content)
        service.repository.stopped(job.id, claim.attempt, "shutdown")

    def test_the_newest_attempt_that_has_one(self, service, submit, picture):
        job = submit()
        link = service.http.get(f"/jobs/{job.id}").json()["links"]["preview"]
        for content, shown in ((picture(1), 1), (picture(2), 2), (None, 2)):
            self.attempt(service, job, content)
            answer = service.http.get(link)
            assert size_of(answer) == (40, 40) and answer.content == picture(shown)

    def test_there_is_none_yet(self, service, submit):
        job = submit()
        self.attempt(service, job, None)
        for at in (job.id, "job_" + "0" * 26, "nonsense"):
            answer = service.http.get(f"/jobs/{at}/preview")
            assert answer.status_code == 404 and answer.json()["detail"]
        assert "POST /preview" in service.http.get(f"/jobs/{job.id}/preview").json()["detail"]
