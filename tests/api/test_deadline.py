"""A request as a whole has an end, whatever its route waits for; and every answer tells browsers to be careful."""

from __future__ import annotations

import re
import threading
import time

import pytest

JSON = {"data": {"source": "digits"}}


class TestDeadline:
    @pytest.fixture
    def hanging(self, start, tmp_path, monkeypatch):
        """A service that waits half a second, and whose database, asked for jobs, takes until `let_go` is set."""
        let_go = threading.Event()
        with start(tmp_path, request_seconds=0.5, body_seconds=2) as running:
            real = type(running.repository).list

            def slow(repository, **filters):
                let_go.wait(10)
                return real(repository, **filters)

            monkeypatch.setattr(type(running.repository), "list", slow)
            yield running
            let_go.set()

    def test_a_route_that_hangs(self, hanging):
        begun = time.monotonic()
        answer = hanging.http.get("/jobs")
        assert answer.status_code == 504 and "within 0.5 s" in answer.json()["detail"]
        assert answer.headers["connection"] == "close" and answer.headers["x-request-id"] == answer.json()["request_id"]
        assert time.monotonic() - begun < 3
        assert hanging.http.get("/livez").status_code == 200

    def test_a_body_has_a_time_of_its_own(self, hanging):
        """Longer than the deadline in all, which counts from the body's end."""

        def slowly():
            for part in (b'{"data": ', b'{"source": "digits"}', b"}"):
                yield part
                time.sleep(0.4)

        headers = {"Content-Type": "application/json"}
        assert hanging.http.post("/jobs", content=slowly(), headers=headers).status_code == 202

    def test_what_has_begun_may_take_long(self, hanging):
        job = hanging.http.post("/jobs", json=JSON).json()
        threading.Timer(1.2, lambda: hanging.repository.request_cancel(job["id"])).start()
        events = {"Accept": "text/event-stream"}
        with hanging.http.stream("GET", job["links"]["events"], headers=events) as stream:
            assert list(stream.iter_lines())[-3] == "event: end"


ADDRESSES = ("/", "/docs", "/livez", "/jobs", "/jobs/nothing", "/openapi.json", "/nowhere", "/metrics")


@pytest.mark.parametrize("address", ADDRESSES)
def test_headers(service, address):
    headers = service.http.get(address).headers
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] in ("no-referrer", "same-origin")
    assert re.search("default-src '(none|self)'", headers["content-security-policy"])
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_a_fault_of_ours_has_them_too(service, monkeypatch):
    monkeypatch.setattr(type(service.repository), "list", lambda *_, **__: 1 / 0)
    answer = service.http.get("/jobs")
    assert answer.status_code == 500 and answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("address", ["/jobs", "/embed", "/aliases/x", "/livez"])
def test_pages_of_other_sites_get_no_permission(service, address, method):
    """A preflight, and the request itself: no header of CORS, whoever asks."""
    asked = {
        "Origin": "https://elsewhere.example",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x",
    }
    preflight = service.http.options(address, headers=asked)
    answer = service.http.request(method, address, headers={"Origin": "https://elsewhere.example"})
    for each in (preflight, answer):
        assert not [name for name in each.headers if name.startswith("access-control-")]
    assert preflight.status_code == 405 and preflight.headers["allow"]


def test_a_405_names_every_method_of_the_address(service):
    assert service.http.options("/jobs").headers["allow"] == "GET, POST"
    assert service.http.options("/datasets/uploads").headers["allow"] == "GET", "DELETE is a method of /datasets/{dataset_id}"
    assert service.http.put("/jobs/job_01JZ8X3M6Q4T9V2B7C5D8E1F0G").headers["allow"] == "GET, PATCH"
