"""Jobs of kind linear_probe and finetune over HTTP: what is accepted, what is refused, how results are read and compared."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.examples import MEASURE_CREATE
from jobs.artifacts import Artifacts
from jobs.models import Job
from jobs.records import Report, ResultDraft


@pytest.fixture(scope="module")
def pets(service, picture):
    """The folder "pets" below the data root: 30 pictures of cats and dogs, a file of labels, and a few wrong ones."""
    folder = service.data_root / "pets"
    lines = ["path,label"]
    for number in range(30):
        name = ("cat", "dog")[number % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{number}.png").write_bytes(picture(number))
        lines.append(f"{name}/{number}.png,{name}")
    (service.data_root / "labels.csv").write_text("\n".join(lines))
    (service.data_root / "wrong.csv").write_text("\n".join([*lines, "cat/99.png,cat"]))
    (service.data_root / "many.csv").write_text("\n".join([*lines, "cat/0.png,dog"]))
    (service.data_root / "flat").mkdir()
    for number in range(4):
        (service.data_root / "flat" / f"{number}.png").write_bytes(picture(number))
    return folder


PETS = {"source": "folder", "path": "pets", "held_out": 0.2}


def body(kind: str = "linear_probe", **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "encoder": "latest", "data": PETS, **fields}


class TestSubmit:
    def test_the_spec_is_complete_and_does_not_follow_an_alias(self, service, pets, published):
        answer = service.http.post("/jobs", json=body(protocol="moco", epochs=3, name="mine", labels={"team": "a"}))
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert (job["kind"], job["status"], job["name"], job["labels"]) == ("linear_probe", "queued", "mine", {"team": "a"})
        spec = job["spec"]
        assert (spec["encoder"], spec["lr"], spec["epochs"]) == (published.encoder_id, 30.0, 3)
        assert any("latest" in note for note in job["notes"]) and "checkpoints" not in job["links"]
        assert [each["id"] for each in service.http.get("/jobs?kind=linear_probe").json()["data"]] == [job["id"]]

    @pytest.mark.parametrize("name", MEASURE_CREATE)
    def test_the_examples(self, service, published, name):
        assert service.http.post("/jobs", json=MEASURE_CREATE[name]).status_code == 202

    def test_validate_only_tells_what_is_there(self, service, pets, published):
        made = service.http.post("/jobs?validate_only=true", json=body("finetune", label_fraction=0.25)).json()
        assert (made["recipe"], made["spec"]["epochs"]) == ("simclr", 30)
        found = {name: made["data"][name] for name in ("images", "held_out", "classes", "split")}
        assert found == {"images": 6, "held_out": 6, "classes": 2, "split": "stratified"}
        assert made["estimate"]["images_through_the_network"] == 6 * 30 + 6
        by_file = service.http.post("/jobs?validate_only=true", json=body(label_file="labels.csv")).json()
        assert by_file["data"]["images"] == 24 and by_file["data"]["fingerprint"] != made["data"]["fingerprint"]

    def test_a_registered_dataset_becomes_its_folder(self, service, pets, published):
        dataset = service.http.post("/datasets", json={"name": "pets", "path": "pets"}).json()
        job = service.http.post("/jobs", json=body(data={"source": "dataset", "id": dataset["id"]})).json()
        assert job["spec"]["data"]["path"] == "pets"


WRONG = [
    ("no encoder", {"kind": "finetune", "data": PETS}, "/encoder", "is required"),
    ("no such encoder", body(encoder="nobody"), "/encoder", "no encoder, job or alias 'nobody'"),
    ("no data", {"kind": "finetune", "encoder": "latest"}, "/data", "is required"),
    ("data is a name", body(data="digits"), "/data", "must be an object"),
    ("data is null", body(data=None), "/data", "must be an object"),
    ("no such folder", body(data={"source": "folder", "path": "nowhere"}), "/data/path", "nowhere"),
    ("no classes", body(data={"source": "folder", "path": "flat"}), "/data/path", "label_file"),
    ("unknown source", body(data={"source": "foldr"}), "/data/source", "folder"),
    ("no such file", body(label_file="nope.csv"), "/label_file", "no file 'nope.csv'"),
    ("unknown paths", body(label_file="wrong.csv"), "/label_file", "'cat/99.png'"),
    ("several labels", body(label_file="many.csv"), "/label_file", "several labels are not measured"),
    ("labels of digits", body(data={"source": "digits"}, label_file="labels.csv"), "/label_file", "has its own labels"),
    ("fraction", body(label_fraction=2), "/label_fraction", "less than or equal to 1"),
    ("unknown protocol", body(protocol="mocco"), "/protocol", "'moco'"),
    ("augmented features", body(augment="crop"), "/solver", "use augment 'none'"),
    ("mistyped field", body(label_fractoin=0.1), "/label_fractoin", "label_fraction"),
    ("a field of the other", body(head_lr=0.1), "/head_lr", "not a field"),
    ("labels", body(labels=["cat"]), "/labels", "dictionary"),
    ("unknown kind", body("linear"), "/kind", "linear_probe"),
]


class TestRefused:
    @pytest.mark.parametrize(("asked", "pointer", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
    def test_with_a_pointer(self, service, pets, published, asked, pointer, said):
        answer = service.http.post("/jobs", json=asked)
        assert answer.status_code == 422, answer.text
        assert any(each["pointer"] == pointer and said in each["detail"] for each in answer.json()["errors"]), answer.text

    def test_everything_at_once(self, service, pets, published):
        asked = body(encoder="nobody", protocol="x", data={"source": "foldr"}, epohs=1)
        pointers = {each["pointer"] for each in service.http.post("/jobs", json=asked).json()["errors"]}
        assert pointers == {"/encoder", "/protocol", "/data/source", "/epohs"}

    def test_a_job_without_an_encoder_yet(self, service, pets, submit):
        answer = service.http.post("/jobs", json=body(encoder=submit().id))
        assert answer.status_code == 409 and "queued and has no encoder yet" in answer.json()["detail"]


class TestOnlineLabels:
    """evaluate.labels of a pretraining job."""

    def test_a_file_of_labels(self, service, pets):
        asked = {"data": {"source": "folder", "path": "pets"}, "evaluate": {"labels": "labels.csv"}}
        made = service.http.post("/jobs?validate_only=true", json=asked)
        assert made.status_code == 200 and made.json()["spec"]["evaluate"]["labels"] == "labels.csv", made.text

    @pytest.mark.parametrize(
        ("file", "source", "said"),
        [
            ("nope.csv", "pets", "no file 'nope.csv'"),
            ("wrong.csv", "pets", "1 of 31 paths in 'wrong.csv' are no pictures of the folder: 'cat/99.png'"),
            ("many.csv", "pets", "several labels"),
            ("../x.csv", "pets", "below the data root"),
            ("labels.csv", None, "are no files that 'labels.csv' could name"),
        ],
    )
    def test_refused_with_a_pointer(self, service, pets, file, source, said):
        data = {"source": "folder", "path": source} if source else {"source": "digits"}
        answer = service.http.post("/jobs", json={"data": data, "evaluate": {"labels": file}})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["pointer"] == "/evaluate/labels" and said in error["detail"]


@pytest.fixture
def measured(service, pets, tmp_path):
    """measured(encoder, top1, **fields) is a job that has succeeded with that accuracy."""

    def make(encoder: str, top1: float, kind: str = "linear_probe", fingerprint: str = "sha256:p", **fields: Any) -> str:
        job = service.http.post("/jobs", json=body(kind, encoder=encoder, **fields)).json()
        claim = service.repository.claim(job["id"], "test", 60)
        left_out = ("encoder", "data", "seed", "label_file", "checkpoint_every_seconds")
        settings = {name: value for name, value in job["spec"].items() if name not in left_out}
        made = {"kind": kind, "top1": top1, "top5": None, "fingerprint": fingerprint, "settings": settings}
        out = tmp_path / job["id"]
        out.mkdir()
        (out / "result.json").write_text(json.dumps({**made, "confusion": [[1, 0], [0, 1]]}))
        folder = Artifacts(service.home).publish_result(job["id"], claim.attempt, out)
        service.repository.finish(job["id"], claim.attempt, ResultDraft(str(folder.relative_to(service.home)), made))
        return str(job["id"])

    return make


class TestResult:
    def test_in_the_job_and_as_a_file(self, service, published, measured):
        job_id = measured(published.encoder_id, 81.5)
        job = service.http.get(f"/jobs/{job_id}").json()
        assert job["result"]["top1"] == 81.5 and "folder" not in job["result"]
        assert job["links"]["result"] == f"/jobs/{job_id}/result"
        assert job["links"]["encoder"] == f"/encoders/{published.encoder_id}"
        whole = service.http.get(job["links"]["result"])
        assert whole.headers["content-type"] == "application/json" and whole.json()["confusion"] == [[1, 0], [0, 1]]

    def test_before_there_is_any(self, service, pets, published, submit):
        job = service.http.post("/jobs", json=body()).json()
        assert service.http.get(f"/jobs/{job['id']}/result").status_code == 409
        assert service.http.get(f"/jobs/{submit().id}/result").status_code == 404
        assert service.http.post("/embed", json={"encoder": job["id"], "images": ["aa"]}).status_code == 409


class TestCompare:
    @pytest.fixture
    def two(self, publish):
        return publish().encoder_id, publish().encoder_id

    def test_what_was_measured_alike_stands_in_one_line(self, service, two, measured):
        a, b = two
        jobs = [measured(a, 80.0), measured(b, 70.0), measured(b, 74.0, seed=1), measured(a, 90.0, kind="finetune", epochs=5)]
        alone = measured(b, 60.0, fingerprint="sha256:q")
        answer = service.http.get("/encoders", params={"compare": f"{a},{b}"}).json()
        assert [each["id"] for each in answer["encoders"]] == [a, b]
        first, *others = answer["data"]
        assert (first["kind"], first["name"], first["fingerprint"]) == ("linear_probe", "linear_probe lbfgs", "sha256:p")
        assert first["metrics"] == {
            "top1": [{"mean": 80.0, "std": None, "count": 1}, {"mean": 72.0, "std": pytest.approx(8**0.5), "count": 2}]
        }
        assert first["jobs"] == [[jobs[0]], [jobs[2], jobs[1]]]
        rest = {(each["name"], each["fingerprint"]): each["metrics"]["top1"] for each in others}
        assert rest["finetune simclr, epochs 5", "sha256:p"][1] is None
        assert rest["linear_probe lbfgs", "sha256:q"] == [None, {"mean": 60.0, "std": None, "count": 1}]
        assert [each["jobs"][1] for each in others if each["fingerprint"] == "sha256:q"] == [[alone]]

    def test_of_one_seed_the_newest_job_counts(self, service, two, measured):
        measured(two[0], 10.0), measured(two[0], 20.0)
        answer = service.http.get("/encoders", params={"compare": ",".join(two)}).json()
        assert answer["data"][0]["metrics"]["top1"] == [{"mean": 20.0, "std": None, "count": 1}, None]

    def test_the_end_of_pretraining_on_the_same_data(self, service, exported, put_encoder):
        ids = []
        for fingerprint in ("sha256:x", "sha256:x", "sha256:y"):
            job = put_encoder(service, exported)
            ids.append(job.encoder_id)
            with service.repository.database.write() as session:
                session.get(Job, job.id).data = {"fingerprint": fingerprint, "images": 9}
        answer = service.http.get("/encoders", params={"compare": ",".join(ids)}).json()
        assert [each["fingerprint"] for each in answer["data"]] == ["sha256:x", "sha256:y"]
        figures = answer["data"][0]["metrics"]["knn_top1"]
        assert [figure and figure["mean"] for figure in figures] == [50.0, 50.0, None]
        assert answer["data"][0]["kind"] == "pretrain" and answer["data"][0]["settings"]["knn_k"] == 20

    def test_names_of_all_kinds(self, service, published, two):
        service.http.put("/aliases/best", json={"encoder": published.encoder_id})
        answer = service.http.get("/encoders", params={"compare": f"best, {two[0]} ,latest,{published.id}"}).json()
        assert [each["id"] for each in answer["encoders"]] == [published.encoder_id, *two]

    @pytest.mark.parametrize(("given", "status"), [("latest", 422), ("latest,latest", 422), ("", 422), ("latest,nobody", 404)])
    def test_refused(self, service, published, given, status):
        answer = service.http.get("/encoders", params={"compare": given})
        assert answer.status_code == status, answer.text

    def test_a_running_measurement_does_not_count(self, service, two, pets):
        job = service.http.post("/jobs", json=body(encoder=two[0])).json()
        claim = service.repository.claim(job["id"], "test", 60)
        service.repository.record(job["id"], claim.attempt, Report(progress={"step": 1}), 30)
        assert service.http.get("/encoders", params={"compare": ",".join(two)}).json()["data"] == []
