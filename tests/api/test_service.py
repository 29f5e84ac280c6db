"""What every address has in common: keys, health, pages, limits, and never a 500 for what a client sent."""

from __future__ import annotations

import json
import re

import pytest

from api import examples
from api.__main__ import refusal
from api.errors import KINDS
from jobs.settings import Settings
from ssl_core.spec import METHOD_NAMES


@pytest.fixture(scope="module")
def guarded(start, tmp_path_factory):
    """A service that asks for a key."""
    with start(tmp_path_factory.mktemp("guarded"), api_keys=("first-key", "second-key")) as running:
        yield running.http


class TestKeys:
    @pytest.mark.parametrize(
        "header", [None, "Bearer wrong", "Bearer", "first-key", "Basic first-key", "Bearer first-key2", b"Bearer \xff"]
    )
    def test_without_a_valid_key(self, guarded, header):
        for path in ("/jobs", "/encoders", "/embed", "/metrics", "/docs", "/", "/nowhere"):
            answer = guarded.get(path, headers={"Authorization": header} if header else {})
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"

    def test_with_a_key(self, guarded):
        for key in ("first-key", "second-key"):
            assert guarded.get("/jobs", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    def test_health_is_open(self, guarded):
        assert guarded.get("/livez").status_code == 200
        assert guarded.get("/readyz").status_code == 200


class TestListening:
    def test_other_machines_only_with_keys(self):
        def why(**given: object) -> str | None:
            return refusal(Settings(**given))

        assert why(host="127.0.0.1") is None and why(host="localhost") is None and why(host="::1") is None
        assert why(host="0.0.0.0", api_keys=("k",)) is None and why(host="0.0.0.0", insecure=True) is None
        for host in ("0.0.0.0", "::", "192.168.1.5", "example.org", ""):
            assert "IMPRINT_API_KEYS" in str(why(host=host))


class TestHealth:
    def test_livez(self, service):
        assert service.http.get("/livez").text == "ok\n"

    def test_degraded_without_a_broker(self, service):
        answer = service.http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() == {"status": "degraded", "components": {"database": "ok", "broker": "failed", "disk": "ok"}}

    def test_failed_without_a_database(self, start, tmp_path):
        with start(tmp_path) as running:
            for file in tmp_path.glob("imprint.db*"):
                file.unlink()
            (tmp_path / "imprint.db").mkdir()
            running.repository.database.engine.dispose()
            answer = running.http.get("/readyz")
            assert answer.status_code == 503 and answer.json()["components"]["database"] == "failed"
            assert str(tmp_path) not in answer.text
            other = running.http.get("/jobs")
            assert other.status_code == 503 and str(tmp_path) not in other.text and "retry-after" in other.headers

    def test_metrics(self, service):
        service.http.get("/jobs/not-an-id")
        text = service.http.get("/metrics").text
        assert 'imprint_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"}' in text
        assert all(re.fullmatch(r"# (HELP|TYPE) .+|\w+(\{.*\})? [\d.e+-]+", line) for line in text.splitlines()), text


class TestPages:
    def test_nothing_is_fetched_from_elsewhere(self, service):
        for path in ("/", "/docs"):
            answer = service.http.get(path)
            assert answer.headers["content-type"].startswith("text/html")
            assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)
            assert not re.search(r"<script(?![^>]* src=\"/ui/static/)|<style|\son\w+=|\sstyle=", answer.text), "no inline code"
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'self';") and "unsafe" not in policy

    def test_docs_list_every_address_and_problem(self, service):
        page = service.http.get("/docs").text
        for path in service.http.get("/openapi.json").json()["paths"]:
            assert path in page
        for kind in KINDS:
            assert f'id="{kind}"' in page

    def test_every_reference_of_openapi_resolves(self, service):
        document = service.http.get("/openapi.json").json()
        names = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
        assert names <= set(document["components"]["schemas"])
        assert {"MoCoConfig", "BYOLConfig", "TrainSpec", "JobBody", "ProblemBody"} <= names

    def test_every_body_has_an_example(self, service):
        for path, operations in service.http.get("/openapi.json").json()["paths"].items():
            for method, operation in operations.items():
                if method in ("post", "put") and "requestBody" not in operation:
                    assert path.endswith(("/cancel", "/pause", "/resume", "/test")), path
                for kind, media in operation.get("requestBody", {}).get("content", {}).items():
                    assert media["examples"], (path, kind)

    def test_the_method_s_own_fields_are_documented(self, service):
        method = service.http.get("/openapi.json").json()["components"]["schemas"]["JobCreate"]["properties"]["method"]
        assert set(method["discriminator"]["mapping"]) == set(METHOD_NAMES)


class TestProblems:
    def test_unknown_address_and_method(self, service):
        answer = service.http.get("/nowhere")
        assert answer.status_code == 404 and answer.json()["type"] == "/docs#not-found"
        answer = service.http.put("/jobs")
        assert answer.status_code == 405 and "POST" in answer.headers["allow"]

    def test_request_ids(self, service):
        assert service.http.get("/livez", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
        answer = service.http.get("/nowhere", headers={"X-Request-Id": "bad id!"})
        assert answer.json()["request_id"] == answer.headers["x-request-id"] != "bad id!"

    def test_our_own_fault_shows_no_internals(self, service, monkeypatch):
        monkeypatch.setattr(type(service.repository), "get", lambda *_: 1 / 0)
        answer = service.http.get(f"/jobs/job_{'0' * 26}")
        assert answer.status_code == 500 and answer.json()["type"] == "/docs#internal"
        assert answer.headers["connection"] == "close", "which it is"
        assert "ZeroDivision" not in answer.text and answer.headers["x-request-id"] == answer.json()["request_id"]

    def test_another_site_may_not_change_anything(self, service):
        headers = {"Sec-Fetch-Site": "cross-site"}
        assert service.http.post(f"/jobs/job_{'0' * 26}/cancel", headers=headers).status_code == 403
        assert service.http.get("/jobs", headers=headers).status_code == 200


JSON_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"1e999",
    b'{"data": NaN}',
    b"\xff\xfe",
    b'{"name": "\\ud800"}',
    b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"data": {"source": "digits"}, "trainer": {"seed": 1' + b"0" * 5000 + b"}}",
    b'{"data": {"source": "digits"}, "trainer": {"max_epochs": 99999999999999999999}}',
    b'{"data": {"source": "digits", "mean": [1e308, -1e308, 0]}, "optim": {"lr": 1e-320}, "trainer": {"batch_size": true}}',
    b'{"data": {"source": ["digits"]}}',
    b'{"data": {"source": {"a": 1}}, "method": {"name": []}, "preset": {}}',
    b'{"data": {"source": "folder", "path": "\\u0000"}}',
    b'{"data": {"source": "folder", "path": "' + b"a/" * 3000 + b'"}}',
    b'{"data": {"source": "digits"}, "labels": {"": "", "\\u0000": "\\u0000"}}',
    b'{"data": {"source": "digits"}, "encoder": {"arch": "timm/\\u0000"}}',
    b'{"data": {"source": "digits"}, "augment": {"second_view": {"blur": "x"}, "crop_scale": [2, 1]}}',
    b'{"~/": 1, "data": {"source": "digits"}}',
]
PATHS = ["/jobs/%00", "/jobs/%FF%FE", "/jobs/" + "a" * 5000, "/jobs/..%2f..%2fetc", "/encoders/%F0%9F%92%A9", "/datasets/%20"]
QUERIES = [
    "/jobs?limit=99999999999999999999999",
    "/jobs?limit=nan",
    "/jobs?after=%00",
    "/jobs?status=%00",
    "/jobs?label.%00=%00",
    "/jobs?label.=x",
    "/jobs?label.a=%FF",
    "/jobs?validate_only=%00",
    "/encoders?after=job_x",
    "/datasets?limit=-1",
]


class TestNever500:
    @pytest.mark.parametrize("path", ["/jobs", "/jobs?validate_only=1", "/datasets", "/embed"])
    def test_json_of_every_kind(self, service, path):
        for body in JSON_BODIES:
            answer = service.http.post(path, content=body, headers={"Content-Type": "application/json"})
            assert 400 <= answer.status_code < 500, (body[:80], answer.text)
            assert answer.json()["detail"]

    def test_content_types(self, service):
        for content_type in ("", "text/plain", "application/xml", "application/x-www-form-urlencoded", "\xff", "a" * 2000, ";;"):
            for path in ("/jobs", "/datasets", "/embed"):
                headers = {"Content-Type": content_type.encode("latin-1")}
                answer = service.http.post(path, content=b'{"data": {"source": "digits"}}', headers=headers)
                assert answer.status_code == 415, (content_type, answer.text)

    def test_paths(self, service):
        for path in PATHS:
            assert service.http.get(path).status_code == 404, path
            assert service.http.post(f"{path}/cancel").status_code in (404, 405), path

    def test_queries(self, service):
        for query in QUERIES:
            assert service.http.get(query).status_code in (200, 422), query

    def test_queries_of_a_job(self, service, submit):
        at = f"/jobs/{submit().id}"
        for query in ("metrics?after_step=1e9", "metrics?after_step=99999999999999999999", "metrics?name=%00", "metrics?limit=0"):
            assert service.http.get(f"{at}/{query}").status_code in (200, 422), query
        for query in ("events?after=-1", "events?after=99999999999999999999", "logs?tail=0", "logs?tail=1e99", "logs?tail=x"):
            assert service.http.get(f"{at}/{query}").status_code == 422, query

    def test_headers(self, service):
        for value in (b"\xff", b"a b", b"x" * 5000, b""):
            headers = {b"Idempotency-Key": value}
            answer = service.http.post("/jobs", json=examples.JOB_CREATE["smallest"], headers=headers)
            assert answer.status_code == 422

    def test_large_bodies(self, service):
        body = json.dumps({"data": {"source": "digits"}, "name": "x" * 2**20}).encode()
        for content in (body, iter([body])):  # with a Content-Length, and chunked
            answer = service.http.post("/jobs", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413 and "1 MiB" in answer.json()["detail"]


class TestStopping:
    def test_embed_and_readyz_say_so_and_streams_end(self, start, tmp_path):
        with start(tmp_path) as running:
            job = running.http.post("/jobs", json=examples.JOB_CREATE["smallest"]).json()
            with running.http.stream("GET", job["links"]["events"], headers={"Accept": "text/event-stream"}) as stream:
                lines = stream.iter_lines()
                assert next(lines)
                running.services.draining.set()
                assert "event: end" not in list(lines), "the job has not ended"
            for answer in (running.http.post("/embed", json={"images": ["a"]}), running.http.get("/readyz")):
                assert answer.status_code == 503 and "retry-after" in answer.headers
            assert running.http.get("/livez").status_code == 200
