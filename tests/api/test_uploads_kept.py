"""What becomes of uploaded datasets: DELETE /datasets, whose they are, and what a killed process leaves of one."""

from __future__ import annotations

import time

from jobs.keys import Keys
from jobs.records import DatasetDraft
from jobs.uploads import Uploads
from support.archives import pictures, zipped
from support.uploading import left, post


class TestDelete:
    def use(self, running, dataset):
        body = {"data": {"source": "dataset", "id": dataset}, "trainer": {"max_epochs": 1, "batch_size": 4}}
        return running.http.post("/jobs", json=body).json()["id"]

    def test_its_files_go(self, service):
        made = post(service, zipped(pictures())).json()
        assert service.http.delete(f"/datasets/{made['id']}").status_code == 204
        assert not (service.home / "datasets" / made["id"]).exists() and left(service) == set()
        assert service.http.get(f"/datasets/{made['id']}").status_code == 404
        assert service.http.delete(f"/datasets/{made['id']}").status_code == 404

    def test_not_while_jobs_use_it(self, service):
        made = post(service, zipped(pictures())).json()
        first, second = self.use(service, made["id"]), self.use(service, made["id"])
        claim = service.repository.claim(first, "test", 60)
        refused = service.http.delete(f"/datasets/{made['id']}")
        assert refused.status_code == 409
        assert f"{first} (running)" in refused.json()["detail"] and f"{second} (queued)" in refused.json()["detail"]
        service.http.post(f"/jobs/{second}/cancel")
        service.repository.fail(first, claim.attempt, {"code": "x", "message": "x", "hint": ""})
        assert service.http.delete(f"/datasets/{made['id']}").status_code == 204
        resumed = service.http.post(f"/jobs/{second}/resume")
        assert resumed.status_code == 409 and "has been deleted" in resumed.json()["detail"]

    def test_a_registered_folder_keeps_its_files(self, service):
        folder = service.data_root / "kept"
        for name, content in pictures().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        made = service.http.post("/datasets", json={"name": "kept", "path": "kept"}).json()
        job = self.use(service, made["id"])
        assert service.http.delete(f"/datasets/{made['id']}").status_code == 409
        service.http.post(f"/jobs/{job}/cancel")
        assert service.http.delete(f"/datasets/{made['id']}").status_code == 204
        assert len(list(folder.rglob("*.png"))) == 16

    def test_its_key_may_be_used_again(self, service):
        key = {"Idempotency-Key": "again"}
        first = post(service, zipped(pictures(2)), headers=key).json()
        service.http.delete(f"/datasets/{first['id']}")
        second = post(service, zipped(pictures(3)), headers=key)
        assert second.status_code == 201 and second.json()["id"] != first["id"]


class TestOwners:
    def test_others_see_nothing_of_it(self, start, tmp_path):
        with start(tmp_path) as running:
            keys = Keys(running.repository.database)
            mine, theirs = ({"Authorization": f"Bearer {keys.create(name)[0]}"} for name in ("mine", "theirs"))
            made = post(running, zipped(pictures()), headers={**mine, "Idempotency-Key": "k"}).json()
            assert made["owner"] == "mine"
            http = running.http
            assert http.get(f"/datasets/{made['id']}", headers=theirs).status_code == 404
            assert http.delete(f"/datasets/{made['id']}", headers=theirs).status_code == 404
            assert http.get("/datasets", headers=theirs).json()["data"] == []
            other = http.get("/datasets/uploads", headers={**theirs, "Idempotency-Key": "k"}).json()
            assert other == {"offset": 0, "dataset": None}
            named = [
                {"source": "dataset", "id": made["id"]},
                {"source": "folder", "path": ".", "dataset": made["id"]},
                {"source": "imagenet", "path": ".", "dataset": made["id"]},
            ]
            for path in ("/jobs", "/preview"):
                for data in named:
                    answer = http.post(path, json={"data": data}, headers=theirs)
                    assert answer.status_code == 422 and "there is no dataset" in answer.json()["detail"], answer.text
            assert http.delete(f"/datasets/{made['id']}", headers=mine).status_code == 204

    def test_not_where_all_may_read(self, start, tmp_path):
        with start(tmp_path / "home", data_root=tmp_path) as running:
            answer = post(running, zipped(pictures()))
            assert answer.status_code == 409 and "IMPRINT_DATA_ROOT" in answer.json()["detail"]

    def test_a_key_that_may_only_read(self, start, tmp_path):
        with start(tmp_path) as running:
            reader = {"Authorization": f"Bearer {Keys(running.repository.database).create('reader', scopes=('read',))[0]}"}
            assert post(running, zipped(pictures()), headers=reader).status_code == 403
            assert running.http.delete(f"/datasets/ds_{'0' * 26}", headers=reader).status_code == 403


def test_a_folder_cannot_pass_for_an_upload(service):
    """The facts of a row say which it is, and no body can: a registered folder is never removed."""
    answer = service.http.post("/datasets", json={"name": "x", "path": ".", "archive": {}})
    assert answer.status_code == 422
    record = service.repository.create_dataset(DatasetDraft("x", "photos", {}))
    assert not record.uploaded


class TestLeftovers:
    def test_are_swept(self, tmp_path):
        """A killed process leaves an unpacked folder, a published one without a row, a deleted one, and an archive."""
        uploads = Uploads(tmp_path / "datasets")
        kept, lost = f"ds_{'0' * 25}1", f"ds_{'0' * 25}2"
        names = [kept, lost, f".{lost}.tmp", f".{lost}.gone"]
        for name in names:
            (uploads.folder / name / "cat").mkdir(parents=True)
        with uploads.receiving("a" * 32) as file:
            file.write(b"PK")
        (uploads.folder / "mine").mkdir()
        now = time.time()
        assert uploads.remove_leftovers({kept}, now + 3000) == []
        assert {each.name for each in uploads.remove_leftovers({kept}, now + 4000)} == set(names[1:])
        assert [each.name for each in uploads.remove_leftovers({kept}, now + 90_000)] == ["a" * 32 + ".zip"]
        assert {each.name for each in uploads.folder.iterdir()} == {kept, "mine", ".uploads"}

    def test_not_what_a_process_works_at(self, tmp_path):
        uploads, later = Uploads(tmp_path / "datasets"), time.time() + 10**6
        with uploads.receiving("a" * 32), uploads.unpacking(f"ds_{'0' * 26}") as folder:
            assert uploads.remove_leftovers(set(), later) == [] and folder.is_dir()
        assert not folder.exists()
