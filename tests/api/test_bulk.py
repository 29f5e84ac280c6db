"""Jobs of kind embed over HTTP: what is accepted, what is refused, and how the result is read."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from api.examples import EMBED_CREATE
from jobs.artifacts import Artifacts
from jobs.records import Report, ResultDraft


@pytest.fixture(scope="module")
def photos(service, picture):
    """The folder "photos" below the data root: six pictures, two of them in train/, one in val/."""
    folder = service.data_root / "photos"
    for number, place in enumerate(("train", "train", "val", "other", "other", "other")):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / f"{number}.png").write_bytes(picture(number))
    (service.data_root / "empty").mkdir()
    return folder


def body(**fields):
    return {"kind": "embed", "encoder": "latest", "data": {"source": "folder", "path": "photos"}, **fields}


class TestSubmit:
    def test_the_spec_is_complete_and_does_not_follow_an_alias(self, service, photos, published, publish):
        service.http.put("/aliases/mine", json={"encoder": published.encoder_id})
        answer = service.http.post("/jobs", json=body(encoder="mine", labels={"team": "a"}))
        assert answer.status_code == 202, answer.text
        job = answer.json()
        assert (job["kind"], job["status"], job["result"], job["labels"]) == ("embed", "queued", None, {"team": "a"})
        known = {name: job["spec"][name] for name in ("kind", "encoder", "normalize", "dimensions", "shard_images")}
        assert known == {
            "kind": "embed", "encoder": published.encoder_id, "normalize": False, "dimensions": None, "shard_images": 16384,
        }  # fmt: skip
        service.http.put("/aliases/mine", json={"encoder": publish().encoder_id})
        assert service.http.get(f"/jobs/{job['id']}").json()["spec"] == job["spec"]
        assert [each["id"] for each in service.http.get("/jobs?kind=embed").json()["data"]] == [job["id"]]
        assert service.http.get("/jobs?kind=bake").status_code == 422

    def test_the_example(self, service, photos, published):
        assert service.http.post("/jobs", json=EMBED_CREATE).status_code == 202

    def test_a_registered_dataset_becomes_its_folder(self, service, photos, published):
        dataset = service.http.post("/datasets", json={"name": "photos", "path": "photos"}).json()
        job = service.http.post("/jobs", json=body(data={"source": "dataset", "id": dataset["id"]})).json()
        assert job["spec"]["data"]["path"] == "photos" and any(dataset["id"] in note for note in job["notes"])

    def test_validate_only_counts_every_picture(self, service, photos, published):
        asked = body(encoder=published.encoder_id, shard_images=4, dimensions=7)
        made = service.http.post("/jobs?validate_only=true", json=asked)
        assert made.status_code == 200, made.text
        assert made.json()["data"]["images"] == 6, "held out or not, in train/ or beside it"
        assert made.json()["estimate"] == {
            "images": 6,
            "shards": 2,
            "size_bytes": 6 * 7 * 4,
            "seconds": None,
            "measured_by": None,
        }


WRONG = [
    ("no such encoder", body(encoder="nobody"), "/encoder", "no encoder, job or alias 'nobody'"),
    ("encoder not a string", body(encoder=5), "/encoder", "string"),
    ("no data", {"kind": "embed"}, "/data", "folder"),
    ("no such folder", body(data={"source": "folder", "path": "nowhere"}), "/data/path", "nowhere"),
    ("empty folder", body(data={"source": "folder", "path": "empty"}), "/data/path", "holds no images"),
    ("out of the root", body(data={"source": "folder", "path": "../x"}), "/data/path", "below the data root"),
    ("not files", body(data={"source": "digits"}), "/data/source", "not files of their own"),
    ("unknown source", body(data={"source": "foldr"}), "/data/source", "folder"),
    ("unknown dataset", body(data={"source": "dataset", "id": "ds_" + "0" * 26}), "/data/id", "GET /datasets"),
    ("too many dimensions", body(dimensions=40), "/dimensions", "1 to 39"),
    ("no dimensions", body(dimensions=0), "/dimensions", "greater than or equal to 1"),
    ("empty shards", body(shard_images=0), "/shard_images", "greater than or equal to 1"),
    ("mistyped field", body(normalise=True), "/normalise", "normalize"),
    ("a field of pretrain", body(trainer={}), "/trainer", "not a field"),
    ("unknown kind", {"kind": "embd"}, "/kind", "embed"),
]


class TestRefused:
    @pytest.mark.parametrize(("asked", "pointer", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
    def test_with_a_pointer(self, service, photos, published, asked, pointer, said):
        answer = service.http.post("/jobs", json=asked)
        assert answer.status_code == 422, answer.text
        assert any(each["pointer"] == pointer and said in each["detail"] for each in answer.json()["errors"]), answer.text

    def test_everything_at_once(self, service, photos, published):
        asked = body(encoder="nobody", data={"source": "folder", "path": "nowhere"}, shards=1)
        pointers = {each["pointer"] for each in service.http.post("/jobs", json=asked).json()["errors"]}
        assert pointers == {"/encoder", "/data/path", "/shards"}

    def test_a_job_without_an_encoder_yet(self, service, photos, submit):
        answer = service.http.post("/jobs", json=body(encoder=submit().id))
        assert answer.status_code == 409 and "queued and has no encoder yet" in answer.json()["detail"]


@pytest.fixture
def finished(service, photos, published, tmp_path):
    """A job of kind embed that has succeeded with two shards; their contents."""
    job = service.http.post("/jobs", json=body()).json()
    claim = service.repository.claim(job["id"], "test", 60)
    made = tmp_path / "vectors"
    made.mkdir()
    for number in range(2):
        pq.write_table(pa.table({"path": [f"{number}.png"]}), made / f"part-0000{number}.parquet")
    (made / "files").write_bytes(b"not to be published")
    shards = [{"file": f"part-0000{number}.parquet", "images": 1, "errors": 0, "size_bytes": 9} for number in range(2)]
    (made / "result.json").write_text(json.dumps({"shards": shards}))
    folder = Artifacts(service.home).publish_vectors(job["id"], claim.attempt, made)
    facts = {"images": 2, "errors": 0, "dim": 512, "size_bytes": 18, "shards": 2}
    service.repository.record(job["id"], claim.attempt, Report(progress={"step": 2, "images_per_second": 3.0}), 30)
    service.repository.finish(job["id"], claim.attempt, ResultDraft(str(folder.relative_to(service.home)), facts))
    return job["id"], folder


class TestResult:
    def test_the_job_s_body(self, service, finished):
        job = service.http.get(f"/jobs/{finished[0]}").json()
        link = f"/jobs/{finished[0]}/vectors"
        expected = {"images": 2, "errors": 0, "dim": 512, "size_bytes": 18, "shards": 2, "links": {"vectors": link}}
        assert (job["status"], job["result"], job["links"]["vectors"]) == ("succeeded", expected, link)

    def test_listed_and_downloaded_whole_or_in_part(self, service, finished):
        job_id, folder = finished
        assert sorted(file.name for file in folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet", "result.json"]
        parts = service.http.get(f"/jobs/{job_id}/vectors").json()["data"]
        assert [part["file"] for part in parts] == ["part-00000.parquet", "part-00001.parquet"]
        answer = service.http.get(parts[1]["href"])
        assert answer.headers["content-type"] == "application/vnd.apache.parquet"
        assert answer.content == (folder / "part-00001.parquet").read_bytes()
        part = service.http.get(parts[1]["href"], headers={"Range": "bytes=4-7"})
        assert part.status_code == 206 and part.content == answer.content[4:8]

    @pytest.mark.parametrize("name", ["result.json", "part-00002.parquet", "..%2fresult.json", "part-0.parquet"])
    def test_other_files_are_not_there(self, service, finished, name):
        assert service.http.get(f"/jobs/{finished[0]}/vectors/{name}").status_code == 404

    def test_before_there_is_any(self, service, photos, published, submit):
        job = service.http.post("/jobs", json=body()).json()
        answer = service.http.get(f"/jobs/{job['id']}/vectors")
        assert answer.status_code == 409 and "queued" in answer.json()["detail"]
        assert service.http.get(f"/jobs/{submit().id}/vectors").status_code == 404
        assert service.http.post("/embed", json={"encoder": job["id"], "images": ["aa"]}).status_code == 409

    def test_the_time_of_the_next_is_estimated_by_it(self, service, finished):
        made = service.http.post("/jobs?validate_only=true", json=body()).json()["estimate"]
        assert (made["seconds"], made["measured_by"]) == (2, finished[0])
