"""/jobs/{id}/metrics, /events, /logs and /checkpoints."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime

import pytest

from jobs.records import Point, Report


@pytest.fixture
def running(service, submit):
    """A job that an attempt is training, and a function that reports for it."""
    job = submit()
    claim = service.repository.claim(job.id, "test", 60)

    def report(**fields):
        return service.repository.record(job.id, claim.attempt, Report(**fields), lease_seconds=60)

    report.job, report.attempt = job, claim.attempt
    report.folder = service.home / "jobs" / job.id / str(claim.attempt)
    return report


def points(name, *steps):
    return [Point(name, step, step // 10, float(step), datetime.now(UTC)) for step in steps]


class TestMetrics:
    def test_by_name_and_step(self, service, running):
        running(points=points("train_loss", 10, 20, 30) + points("knn_top1", 20))
        at = f"/jobs/{running.job.id}/metrics"
        body = service.http.get(at, params={"name": "train_loss", "after_step": 10}).json()
        assert body["object"] == "list" and body["has_more"] is False
        assert [(each["step"], each["value"], each["name"]) for each in body["data"]] == [
            (20, 20.0, "train_loss"),
            (30, 30.0, "train_loss"),
        ]
        assert set(body["data"][0]) == {"step", "epoch", "name", "value", "at"} and body["data"][0]["at"].endswith("Z")
        assert len(service.http.get(at).json()["data"]) == 4

    def test_pages(self, service, running):
        running(points=points("train_loss", *range(1, 8)))
        seen, after = [], 0
        while True:
            params = {"name": "train_loss", "after_step": after, "limit": 3}
            body = service.http.get(f"/jobs/{running.job.id}/metrics", params=params).json()
            seen += [each["step"] for each in body["data"]]
            after = seen[-1]
            if not body["has_more"]:
                break
        assert seen == list(range(1, 8))

    @pytest.mark.parametrize("count", [2, 7, 50, 1000])
    def test_thinned_for_drawing(self, service, running, count):
        """Of 900 steps from 100 in 7 parts of 129 each, the last of each: 228, 357, …; the last of all is 999."""
        running(points=points("train_loss", *range(100, 1000)) + points("knn_top1", 100, 600, 999))
        at = f"/jobs/{running.job.id}/metrics"
        body = service.http.get(at, params={"points": count}).json()
        steps = {name: [each["step"] for each in body["data"] if each["name"] == name] for name in ("train_loss", "knn_top1")}
        assert body["has_more"] is False and steps["knn_top1"][-1] == steps["train_loss"][-1] == 999
        assert len(steps["train_loss"]) <= count and steps["train_loss"] == sorted(set(steps["train_loss"]))
        gaps = {later - one for one, later in zip(steps["train_loss"][:-1], steps["train_loss"][1:-1], strict=False)}
        assert len(gaps) <= 1 and max(gaps, default=0) <= 899 // count + 1
        if count == 7:
            assert steps["train_loss"] == [228, 357, 486, 615, 744, 873, 999]
        if count == 1000:
            assert len(steps["train_loss"]) == 900 and steps["knn_top1"] == [100, 600, 999]
        rest = service.http.get(at, params={"points": count, "after_step": 990, "name": "train_loss"}).json()["data"]
        assert len(rest) == min(count, 9) or count == 7
        assert rest[-1]["step"] == 999 and rest[0]["step"] > 990

    def test_not_a_number_is_null(self, service, running):
        running(points=[Point("train_loss", 1, 0, None, datetime.now(UTC))])
        assert service.http.get(f"/jobs/{running.job.id}/metrics").json()["data"][0]["value"] is None

    def test_unknown_job(self, service):
        assert service.http.get(f"/jobs/job_{'0' * 26}/metrics").status_code == 404


class TestEvents:
    def test_polling_by_cursor(self, service, running):
        running(events=[("warning", {"message": f"{n}"}) for n in range(3)])
        at = f"/jobs/{running.job.id}/events"
        everything = service.http.get(at).json()["data"]
        assert [each["data"]["message"] for each in everything if each["type"] == "warning"] == ["0", "1", "2"]
        ids = [each["id"] for each in everything]
        assert ids == sorted(ids)
        page = service.http.get(at, params={"after": ids[0], "limit": 1}).json()
        assert [each["id"] for each in page["data"]] == ids[1:2] and page["has_more"] is True
        assert service.http.get(at, params={"after": ids[-1]}).json()["data"] == []

    def stream(self, service, job_id, **headers):
        """The stream's events as (id, type, data), until it ends."""
        found = []
        with service.http.stream("GET", f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream", **headers}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            fields = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    found.append((fields.get("id"), fields["event"], json.loads(fields["data"])))
                    fields = {}
        return found

    def test_stream_follows_to_the_end(self, service, running):
        def later():
            running(events=[("warning", {"message": "late"})])
            service.repository.request_cancel(running.job.id)
            service.repository.stopped(running.job.id, running.attempt, "cancel")

        timer = threading.Timer(0.3, later)
        timer.start()
        events = self.stream(service, running.job.id)
        timer.join()
        assert "late" in [data["data"].get("message") for _, kind, data in events if kind == "warning"]
        assert events[-1][1:] == ("end", {"status": "cancelled"})

    def test_stream_continues_after_the_last_event(self, service, submit):
        job = submit()
        service.repository.request_cancel(job.id)
        first = self.stream(service, job.id)
        rest = self.stream(service, job.id, **{"Last-Event-ID": first[0][0]})
        assert rest == first[1:]
        assert self.stream(service, job.id, **{"Last-Event-ID": "rubbish"}) == first

    def test_unknown_job(self, service):
        at = f"/jobs/job_{'0' * 26}/events"
        assert service.http.get(at).status_code == 404
        assert service.http.get(at, headers={"Accept": "text/event-stream"}).status_code == 404


class TestLogs:
    def test_the_last_lines(self, service, running):
        running.folder.mkdir(parents=True)
        (running.folder / "log.txt").write_bytes(b"".join(b"line %d\n" % n for n in range(500)) + b"\xff torn")
        at = f"/jobs/{running.job.id}/logs"
        answer = service.http.get(at, params={"tail": 3})
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text == "line 498\nline 499\n\\xff torn"
        assert len(service.http.get(at).text.splitlines()) == 200

    def test_nothing_yet(self, service, submit):
        answer = service.http.get(f"/jobs/{submit().id}/logs")
        assert (answer.status_code, answer.text) == (200, "")

    def test_a_huge_log_is_read_from_its_end(self, service, running):
        running.folder.mkdir(parents=True)
        (running.folder / "log.txt").write_bytes(b"x" * 3_000_000 + b"\n" + b"end\n" * 10)
        answer = service.http.get(f"/jobs/{running.job.id}/logs", params={"tail": 1000})
        assert answer.text == "end\n" * 10


class TestCheckpoints:
    def test_newest_first(self, service, running):
        folder = running.folder / "checkpoints"
        folder.mkdir(parents=True)
        for step in (100, 200):
            (folder / f"step-{step:08d}.ckpt").write_bytes(b"x" * step)
            (folder / f"step-{step:08d}.ckpt.sha256").write_text("…")
        data = service.http.get(f"/jobs/{running.job.id}/checkpoints").json()["data"]
        assert [(each["file"], each["step"], each["size_bytes"], each["attempt"]) for each in data] == [
            ("checkpoints/step-00000200.ckpt", 200, 200, 1),
            ("checkpoints/step-00000100.ckpt", 100, 100, 1),
        ]

    def test_none(self, service, submit):
        assert service.http.get(f"/jobs/{submit().id}/checkpoints").json()["data"] == []


class TestLive:
    """With `live`, the stream tells of metrics and of the job too."""

    @pytest.fixture
    def follow(self, service, running):
        def follow(last: str | None = None, **params):
            """The events of a stream up to `end`, as (id, type, data)."""
            headers = {"Accept": "text/event-stream", **({} if last is None else {"Last-Event-ID": last})}
            at = f"/jobs/{running.job.id}/events"
            found, event = [], {}
            with service.http.stream("GET", at, params={"live": True, **params}, headers=headers) as stream:
                for line in stream.iter_lines():
                    name, _, value = line.partition(": ")
                    if name:
                        event[name] = value
                    elif event.get("event"):
                        found.append((event.get("id"), event["event"], json.loads(event["data"])))
                        event = {}
                    else:
                        event = {}
            return found

        return follow

    def test_all_that_happens_until_the_end(self, service, running, follow):
        heard = []
        thread = threading.Thread(target=lambda: heard.extend(follow()))
        thread.start()
        running(points=points("train_loss", 1, 2), progress={"epoch": 0, "step": 2, "fraction": 0.2})
        for _ in range(3):
            threading.Event().wait(0.4)
            running(points=points("knn_top1", 2), progress={"epoch": 0, "step": 2, "fraction": 0.2})  # later, at the same step
        running(points=points("train_loss", 3), progress={"epoch": 0, "step": 3, "fraction": 0.3})
        service.repository.fail(running.job.id, running.attempt, {"code": "x", "message": "m", "hint": None})
        thread.join(20)
        values = [(each["name"], each["step"]) for _, type_, data in heard if type_ == "metrics" for each in data["data"]]
        assert sorted(values) == [("knn_top1", 2), *(("train_loss", step) for step in (1, 2, 3))], "each once"
        jobs = [data for _, type_, data in heard if type_ == "job"]
        assert jobs[-1]["status"] == "failed" and jobs[-1] == service.http.get(f"/jobs/{running.job.id}").json()
        assert len({json.dumps(each) for each in jobs}) == len(jobs), "only when it has changed"
        assert [type_ for _, type_, _ in heard][-1] == "end" and "failed" in [type_ for _, type_, _ in heard]

    def test_goes_on_after_what_was_heard(self, service, running, follow):
        running(points=points("train_loss", *range(1, 6)))
        service.repository.fail(running.job.id, running.attempt, {"code": "x", "message": "m", "hint": None})
        ids = [(id_, type_) for id_, type_, _ in follow() if id_]
        assert [type_ for _, type_ in ids] == ["created", "running", "failed", "metrics"]
        last = ids[-1][0]
        assert last == f"{ids[-2][0]}-5"
        again = follow(last)
        assert [type_ for _, type_, _ in again] == ["metrics", "job", "end"]
        assert [each["step"] for each in again[0][2]["data"]] == [5], "the last step once more: it may have been heard in part"
        assert [type_ for _, type_, _ in follow("nonsense", after_step=9)] == ["created", "running", "failed", "job", "end"]

    def test_without_it_the_stream_is_as_it_was(self, running, follow, service):
        running(points=points("train_loss", 1))
        service.repository.fail(running.job.id, running.attempt, {"code": "x", "message": "m", "hint": None})
        assert [type_ for _, type_, _ in follow(live=False)] == ["created", "running", "failed", "end"]
        assert [type_ for _, type_, _ in follow("1-5", live=False)][-1] == "end"
