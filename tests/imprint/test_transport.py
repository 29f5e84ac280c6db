"""Retries and errors, against a real socket."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

import imprint
from imprint.client import Client
from imprint.errors import (
    Conflict,
    ConnectionFailed,
    ImprintError,
    NotAllowed,
    NotFound,
    Rejected,
    ServiceError,
    Unavailable,
    UsageError,
)

JOB: dict[str, Any] = {"id": "job_1", "status": "queued"}
PROBLEM = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "2 fields are not right",
    "errors": [
        {"pointer": "/trainer/batch_size", "detail": "must be at most 1437 (got 9999)"},
        {"pointer": "/method/quue_size", "detail": "did you mean 'queue_size'?"},
    ],
    "request_id": "req_7",
}


class TestRetries:
    def test_a_submission_is_repeated_under_the_same_key(self, server: Any) -> None:
        server.say(server_drop(), busy(), ok(JOB))
        with Client(server.url) as client:
            assert client.submit(data={"source": "digits"}).id == "job_1"
        keys = {seen.headers["idempotency-key"] for seen in server.seen}
        assert len(server.seen) == 3 and len(keys) == 1

    def test_two_submissions_have_two_keys(self, server: Any) -> None:
        server.say(ok(JOB))
        with Client(server.url) as client:
            for _ in range(2):
                client.submit(data={"source": "digits"})
        assert len({seen.headers["idempotency-key"] for seen in server.seen}) == 2

    def test_reading_is_repeated(self, server: Any) -> None:
        server.say(busy(), server_drop(), ok(JOB))
        with Client(server.url) as client:
            assert client.job("job_1").status == "queued"

    def test_cancelling_is_not(self, server: Any) -> None:
        server.say(busy(), ok(JOB))
        with Client(server.url) as client, pytest.raises(Unavailable):
            client.cancel("job_1")
        assert len(server.seen) == 1

    def test_other_errors_are_not(self, server: Any) -> None:
        server.say(problem(422, PROBLEM), ok(JOB))
        with Client(server.url) as client, pytest.raises(Rejected):
            client.submit(data={"source": "digits"})
        assert len(server.seen) == 1

    def test_retry_after_is_obeyed_within_reason(self, server: Any) -> None:
        server.say(busy("0.4"), ok(JOB))
        start = time.monotonic()
        with Client(server.url) as client:
            client.job("job_1")
        assert time.monotonic() - start >= 0.4
        server.say(busy("3600"), ok(JOB))
        with Client(server.url) as client, pytest.raises(Unavailable) as caught:
            client.job("job_1")
        assert caught.value.retry_after == 3600

    def test_nobody_there(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            with Client(url) as client, pytest.raises(ConnectionFailed, match="no Imprint server answers") as caught:
                client.job("job_1")
        assert "imprint up" in caught.value.hint


class TestProblems:
    def test_carry_the_pointers(self, server: Any) -> None:
        server.say(problem(422, PROBLEM))
        with Client(server.url) as client, pytest.raises(Rejected) as caught:
            client.submit(data={"source": "digits"})
        error = caught.value
        assert [each.pointer for each in error.problems] == ["/trainer/batch_size", "/method/quue_size"]
        assert error.status == 422 and error.request_id == "req_7"
        assert str(error).splitlines() == [
            "2 fields are not right",
            "  /trainer/batch_size: must be at most 1437 (got 9999)",
            "  /method/quue_size: did you mean 'queue_size'?",
        ]

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, Rejected),
            (401, NotAllowed),
            (403, NotAllowed),
            (404, NotFound),
            (409, Conflict),
            (413, Rejected),
            (500, ServiceError),
        ],
    )
    def test_have_a_class_for_each_status(self, server: Any, status: int, kind: type[ServiceError]) -> None:
        server.say(problem(status, {"detail": "so it is"}))
        with Client(server.url) as client, pytest.raises(kind, match="so it is"):
            client.job("job_1")

    def test_a_proxys_page_is_not_a_crash(self, server: Any) -> None:
        server.say(problem(502, b"<html>Bad Gateway</html>"))
        with Client(server.url) as client, pytest.raises(ServiceError, match="502"):
            client.job("job_1")

    def test_a_missing_key_says_how_to_give_one(self, server: Any) -> None:
        server.say(problem(401, {"detail": "an API key is needed"}))
        with Client(server.url) as client, pytest.raises(NotAllowed) as caught:
            client.job("job_1")
        assert "IMPRINT_API_KEY" in caught.value.hint


class TestRequests:
    def test_the_key_is_sent(self, server: Any) -> None:
        server.say(ok(JOB))
        with Client(server.url, "secret") as client:
            client.job("job_1")
        assert server.seen[0].headers["authorization"] == "Bearer secret"

    @pytest.mark.parametrize("name", ["", ".", ".."])
    def test_an_id_cannot_leave_its_place(self, server: Any, name: str) -> None:
        with Client(server.url) as client, pytest.raises(UsageError):
            client.job(name)
        with Client(server.url) as client:
            server.say(ok(JOB))
            client.job("a/../b?c")
        assert server.seen[-1].path == "/jobs/a%2F..%2Fb%3Fc"

    @pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://[::1", "not an address"])
    def test_a_malformed_address_is_an_imprint_error(self, url: str) -> None:
        with pytest.raises(ImprintError, match="not an address"), Client(url) as client:
            client.job("job_1")

    def test_pages_are_followed_and_limited(self, server: Any) -> None:
        def page(*names: str, more: bool) -> Any:
            return ok({"object": "list", "data": [{**JOB, "id": name} for name in names], "last_id": names[-1], "has_more": more})

        server.say(page("a", "b", more=True), page("c", more=False))
        with Client(server.url) as client:
            assert [job.id for job in client.jobs(status="queued", labels={"team": "x y"})] == ["a", "b", "c"]
        assert server.seen[0].path == "/jobs?status=queued&label.team=x+y&limit=100"
        assert server.seen[1].path.endswith("after=b&limit=100")
        server.say(page("a", "b", more=True))
        with Client(server.url) as client:
            assert [job.id for job in client.jobs(limit=2)] == ["a", "b"]
        assert server.seen[-1].path == "/jobs?limit=2"


def test_the_package_exports_the_client_lazily() -> None:
    assert imprint.Client is Client
    assert set(imprint.__all__) >= {"Client", "ImprintError", "Job"}
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = imprint.nothing_like_it


def ok(body: Any) -> dict[str, Any]:
    return {"body": body}


def busy(after: str | None = None) -> dict[str, Any]:
    return {"body": {"detail": "draining"}, "status": 503, "headers": {"Retry-After": after} if after else {}}


def problem(status: int, body: Any) -> dict[str, Any]:
    return {"body": body, "status": status}


def server_drop() -> dict[str, Any]:
    return {"drop": True}
