"""GET /jobs, /jobs/{id}, and the three requests that change a job's course."""

from __future__ import annotations

from datetime import UTC, datetime

from jobs.records import Point, Report

MISSING = "job_" + "0" * 26


class TestGet:
    def test_unknown(self, service):
        answer = service.http.get(f"/jobs/{MISSING}")
        assert answer.status_code == 404 and MISSING in answer.json()["detail"]

    def test_a_running_job(self, service, submit):
        job = submit(name="r")
        claim = service.repository.claim(job.id, "test", 60)
        progress = {"epoch": 1, "step": 7, "steps_total": 20, "fraction": 0.35, "images_per_second": 10.0, "eta_seconds": 3.0}
        points = [Point("train_loss", 7, 1, 2.5, datetime.now(UTC))]
        report = Report(progress=progress, points=points, health={"verdict": "learning", "reasons": []})
        service.repository.record(job.id, claim.attempt, report, lease_seconds=60)
        body = service.http.get(f"/jobs/{job.id}").json()
        assert body["status"] == "running" and body["attempt"] == 1 and body["started_at"].endswith("Z")
        assert body["progress"] == progress
        assert body["metrics"]["train_loss"] == 2.5
        assert body["health"] == {"verdict": "learning", "reasons": [], "suggestions": [], "step": None}, "of a job of before"
        assert body["encoder"] is None

    def test_a_failed_job_says_why(self, service, submit):
        job = submit()
        claim = service.repository.claim(job.id, "test", 60)
        service.repository.fail(job.id, claim.attempt, {"code": "data", "message": "no images", "hint": "add some"})
        body = service.http.get(f"/jobs/{job.id}").json()
        assert body["status"] == "failed" and body["finished_at"]
        assert body["error"] == {"code": "data", "message": "no images", "hint": "add some"}


class TestList:
    def test_pages_meet_without_gap_or_overlap(self, service, submit):
        mine = [submit(labels={"of": "pages"}).id for _ in range(5)]
        seen, after = [], None
        while True:
            params = {"limit": 2, "label.of": "pages", **({"after": after} if after else {})}
            page = service.http.get("/jobs", params=params).json()
            ids = [job["id"] for job in page["data"]]
            assert page["object"] == "list" and (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
            seen += ids
            after = page["last_id"]
            if not page["has_more"]:
                break
        assert seen == mine[::-1]

    def test_filters(self, service, submit):
        one = submit(method="byol", labels={"team": "a", "run": "1"})
        submit(method="moco", labels={"team": "a", "run": "2"})
        service.repository.request_cancel(one.id)

        def ids(**params):
            return [job["id"] for job in service.http.get("/jobs", params=params).json()["data"]]

        assert ids(**{"label.team": "a", "label.run": "1"}) == [one.id]
        assert ids(**{"label.team": "a", "method": "byol"}) == [one.id]
        assert ids(**{"label.team": "a", "status": "cancelled"}) == [one.id]
        assert ids(**{"label.team": "nobody"}) == []
        assert ids(**{f"label.n{number}": "x" for number in range(32)}) == []
        refused = service.http.get("/jobs", params={f"label.n{number}": "x" for number in range(33)})
        assert refused.status_code == 422 and "33 labels are asked for" in refused.json()["detail"]

    def test_an_empty_page(self, service):
        page = service.http.get("/jobs", params={"label.x": "none"}).json()
        assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}

    def test_wrong_parameters_are_named(self, service):
        for params, hint in (
            ({"limit": 0}, "greater than or equal to 1"),
            ({"limit": 101}, "100"),
            ({"status": "done"}, "queued"),
            ({"method": "mocco"}, "moco"),
            ({"after": "x"}, "last_id"),
            ({"stauts": "queued"}, "status"),
        ):
            answer = service.http.get("/jobs", params=params)
            assert answer.status_code == 422 and hint in answer.json()["detail"], answer.text
            assert answer.json()["errors"][0]["parameter"] == next(iter(params))


class TestControl:
    def test_cancel_is_idempotent(self, service, submit):
        job = submit()
        for _ in range(2):
            answer = service.http.post(f"/jobs/{job.id}/cancel")
            assert answer.status_code == 202 and answer.json()["status"] == "cancelled"

    def test_cancel_of_a_running_job_is_a_request(self, service, submit):
        job = submit()
        claim = service.repository.claim(job.id, "test", 60)
        assert service.http.post(f"/jobs/{job.id}/cancel").json()["status"] == "running"
        assert service.repository.record(job.id, claim.attempt, Report(), lease_seconds=60) == "cancel"

    def test_cancel_of_a_finished_job_names_its_state(self, service, publish):
        job = publish()
        answer = service.http.post(f"/jobs/{job.id}/cancel")
        assert answer.status_code == 409 and "succeeded" in answer.json()["detail"]

    def test_pause_and_resume(self, service, submit):
        job = submit()
        claim = service.repository.claim(job.id, "test", 60)
        assert service.http.post(f"/jobs/{job.id}/pause").status_code == 202
        service.repository.stopped(job.id, claim.attempt, "pause")
        assert service.http.get(f"/jobs/{job.id}").json()["status"] == "paused"
        for _ in range(2):
            answer = service.http.post(f"/jobs/{job.id}/resume")
            assert answer.status_code == 202 and answer.json()["status"] == "queued"

    def test_resume_of_a_cancelled_job(self, service, submit):
        job = submit()
        service.http.post(f"/jobs/{job.id}/cancel")
        assert service.http.post(f"/jobs/{job.id}/resume").json()["status"] == "queued"

    def test_pause_of_a_cancelled_job_is_refused(self, service, submit):
        job = submit()
        service.http.post(f"/jobs/{job.id}/cancel")
        answer = service.http.post(f"/jobs/{job.id}/pause")
        assert answer.status_code == 409 and "cancelled" in answer.json()["detail"]

    def test_unknown(self, service):
        for verb in ("cancel", "pause", "resume"):
            assert service.http.post(f"/jobs/{MISSING}/{verb}").status_code == 404
