"""POST /jobs: what is accepted, what is refused and in which words, and that nothing is created twice."""

from __future__ import annotations

import threading

import pytest
from PIL import Image

from api.examples import JOB_CREATE
from jobs.records import EncoderDraft, Report


def problems(answer):
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["request_id"] == answer.headers["x-request-id"]
    return {each["pointer"]: each["detail"] for each in body["errors"]}


@pytest.fixture
def photos(service):
    """A folder of 12 pictures below the data root, and a link that leads out of it."""
    folder = service.data_root / "photos"
    if not folder.exists():
        folder.mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (48, 40), (number * 20, 0, 90)).save(folder / f"{number}.png")
        (service.home / "secret").mkdir()
        (service.data_root / "way-out").symlink_to(service.home / "secret")
    return folder


class TestAccepted:
    def test_the_smallest_body(self, service):
        answer = service.http.post("/jobs", json={"data": {"source": "digits"}})
        job = answer.json()
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/jobs/{job['id']}"
        assert job["status"] == "queued" and job["id"].startswith("job_")
        assert job["spec"]["data"]["source"] == "digits" and job["spec"]["trainer"]["max_epochs"] > 0
        assert service.http.get(f"/jobs/{job['id']}").json() == job

    @pytest.mark.parametrize("name", JOB_CREATE)
    def test_every_example(self, service, name):
        answer = service.http.post("/jobs", json=JOB_CREATE[name])
        assert answer.status_code == 202, answer.text

    def test_fields_override_the_preset(self, service):
        body = {
            "data": {"source": "digits"},
            "preset": "byol",
            "trainer": {"max_epochs": 3},
            "labels": {"team": "a"},
            "name": "n",
        }
        job = service.http.post("/jobs", json=body).json()
        assert job["spec"]["method"]["name"] == "byol"
        assert job["spec"]["trainer"]["max_epochs"] == 3
        assert job["labels"] == {"team": "a"} and job["name"] == "n"

    def test_the_body_is_exactly_the_contract_s(self, service):
        job = service.http.post("/jobs", json={"data": {"source": "digits"}}).json()
        first = "id name kind status phase requested attempt created_at started_at finished_at"
        expected = f"{first} progress metrics health spec encoder error"
        assert list(job) == [*expected.split(), "labels", "notes", "data", "result", "owner", "shared", "tracking", "links"]
        assert job["created_at"].endswith("Z")

    def test_a_folder_below_the_data_root(self, service, photos):
        answer = service.http.post("/jobs", json={"data": {"source": "folder", "path": "photos"}, "trainer": {"batch_size": 4}})
        assert answer.status_code == 202, answer.text

    def test_a_registered_dataset_becomes_its_folder(self, service, photos):
        dataset = service.http.post("/datasets", json={"name": "photos", "path": "photos"}).json()
        body = {"data": {"source": "dataset", "id": dataset["id"], "size": 32}, "trainer": {"batch_size": 4}}
        job = service.http.post("/jobs", json=body).json()
        assert job["spec"]["data"]["source"] == "folder"
        assert (job["spec"]["data"]["path"], job["spec"]["data"]["size"]) == ("photos", 32)


class TestValidateOnly:
    def test_says_what_would_be_done_and_creates_nothing(self, service):
        before = len(service.http.get("/jobs", params={"limit": 100}).json()["data"])
        answer = service.http.post("/jobs?validate_only=true", json={"data": {"source": "digits"}})
        assert answer.status_code == 200
        body = answer.json()
        assert body["valid"] is True and body["data"]["images"] + body["data"]["held_out"] == 1797
        assert isinstance(body["warnings"], list) and body["spec"]["encoder"]["arch"]
        assert len(service.http.get("/jobs", params={"limit": 100}).json()["data"]) == before

    def test_the_time_is_estimated_from_a_job_like_it(self, start, tmp_path):
        with start(tmp_path) as service:
            spec = {"data": {"source": "digits"}, "trainer": {"max_epochs": 10, "batch_size": 128}}
            made = service.http.post("/jobs?validate_only=true", json=spec).json()
            assert made["estimate"]["seconds"] is None, "no job like it has run here"
            job = service.repository.get(service.http.post("/jobs", json=spec).json()["id"])
            claim = service.repository.claim(job.id, "w", 30)
            fast = {"images_per_second": 100.0, "epoch": 1, "step": 1, "steps_total": 1, "fraction": 1.0, "eta_seconds": 0.0}
            service.repository.record(job.id, claim.attempt, Report(progress=fast), 30)
            service.repository.succeed(job.id, claim.attempt, EncoderDraft("resnet18", 512, "simclr", {}, "0" * 64, 1, "x"))
            estimate = service.http.post("/jobs?validate_only=true", json=spec).json()["estimate"]
            assert estimate["measured_by"] == job.id
            assert estimate["seconds"] == round(estimate["steps_total"] * 128 / 100.0)
            other = service.http.post("/jobs?validate_only=true", json={**spec, "encoder": {"arch": "resnet34"}}).json()
            assert other["estimate"]["seconds"] is None

    def test_refuses_what_a_submission_would(self, service):
        found = problems(service.http.post("/jobs?validate_only=true", json={"data": {"source": "digits"}, "preset": "mocov2"}))
        assert "did you mean 'moco_v2'" in found["/preset"]


DIGITS = {"data": {"source": "digits"}}
REFUSED = [
    ("unknown method", {**DIGITS, "method": {"name": "bylo"}}, "/method/name", "byol"),
    ("unknown preset", {**DIGITS, "preset": "moco_v9"}, "/preset", "moco_v"),
    ("unknown architecture", {**DIGITS, "encoder": {"arch": "resnet19"}}, "/encoder/arch", "resnet18"),
    ("unknown source", {"data": {"source": "digit"}}, "/data/source", "digits"),
    ("unknown dataset", {"data": {"source": "dataset", "id": "ds_" + "0" * 26}}, "/data/id", "GET /datasets"),
    ("no data", {"preset": "byol"}, "/data", "required"),
    ("no such folder", {"data": {"source": "folder", "path": "nowhere"}}, "/data/path", "nowhere"),
    ("path with dots", {"data": {"source": "folder", "path": "../etc"}}, "/data/path", "below the data root"),
    ("absolute path", {"data": {"source": "folder", "path": "/etc"}}, "/data/path", "below the data root"),
    ("link out of the root", {"data": {"source": "folder", "path": "way-out"}}, "/data/path", "data root"),
    ("files of cifar10 missing", {"data": {"source": "cifar10"}}, "/data/path", "cifar-10-batches-py"),
    ("batch too large", {**DIGITS, "trainer": {"batch_size": 5000}}, "/trainer/batch_size", "1,437"),
    ("K zero", {**DIGITS, "method": {"name": "moco", "queue_size": 0}}, "/method/queue_size", "greater than 0"),
    ("ce without negatives", {**DIGITS, "method": {"name": "byol", "loss": {"kind": "ce"}}}, "/method", "negatives"),
    ("mistyped field", {**DIGITS, "trainer": {"max_epoch": 5}}, "/trainer/max_epoch", "max_epochs"),
    ("mistyped section", {**DIGITS, "trianer": {}}, "/trianer", "trainer"),
    ("wrong type", {**DIGITS, "trainer": {"max_epochs": "many"}}, "/trainer/max_epochs", "many"),
    ("section not an object", {**DIGITS, "optim": []}, "/optim", "dict"),
    ("another kind", {**DIGITS, "kind": "bake"}, "/kind", "pretrain"),
    ("name too long", {**DIGITS, "name": "x" * 201}, "/name", "200"),
    ("name with NUL", {**DIGITS, "name": "a\0b"}, "/name", "printable"),
    ("label not text", {**DIGITS, "labels": {"team": 1}}, "/labels/team", "string"),
    ("too many labels", {**DIGITS, "labels": {str(i): "" for i in range(33)}}, "/labels", "32"),
]


class TestRefused:
    @pytest.mark.parametrize(("body", "pointer", "hint"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
    def test_names_the_field_and_what_would_be_right(self, service, photos, body, pointer, hint):
        before = service.http.get("/jobs?limit=1").json()["first_id"]
        found = problems(service.http.post("/jobs", json=body))
        places = [place for place in found if place.startswith(pointer)]
        assert places and hint in found[places[0]], found
        assert service.http.get("/jobs?limit=1").json()["first_id"] == before, "something was queued"

    def test_several_at_once(self, service):
        body = {
            "data": {"source": "folder", "path": "nowhere"},
            "preset": "mocov2",
            "method": {"name": "byl"},
            "encoder": {"arch": "resnet19"},
            "trainer": {"batch_size": 0},
            "optim": [],
            "labesl": {},
        }
        found = problems(service.http.post("/jobs", json=body))
        assert {"/data/path", "/preset", "/method/name", "/encoder/arch", "/trainer/batch_size", "/optim", "/labesl"} == set(
            found
        )


class TestIdempotencyKey:
    def post(self, service, key, **fields):
        return service.http.post("/jobs", json={**DIGITS, **fields}, headers={"Idempotency-Key": key})

    def test_the_same_request_gives_the_same_job(self, service):
        first, second = (self.post(service, "key-1", name="a") for _ in range(2))
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert second.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers

    def test_the_order_of_fields_is_no_difference(self, service):
        first = service.http.post("/jobs", content=b'{"name":"x","data":{"source":"digits"}}', headers=self.headers("key-2"))
        second = service.http.post("/jobs", content=b'{"data":{"source":"digits"},"name":"x"}', headers=self.headers("key-2"))
        assert first.json()["id"] == second.json()["id"]

    def test_another_body_is_refused(self, service):
        self.post(service, "key-3", name="a")
        answer = self.post(service, "key-3", name="b")
        assert answer.status_code == 422 and "Idempotency-Key" in answer.json()["detail"]

    def test_many_at_once_make_one_job(self, service):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.post(service, "key-4"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {answer.status_code for answer in answers} <= {202, 409}
        assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1

    def test_a_refused_request_does_not_use_up_the_key(self, service):
        assert self.post(service, "key-5", preset="nope").status_code == 422
        assert self.post(service, "key-5", preset="byol").status_code == 202

    def test_a_key_that_no_column_should_hold(self, service):
        assert self.post(service, "x" * 300).status_code == 422

    def headers(self, key):
        return {"Idempotency-Key": key, "Content-Type": "application/json"}
