"""`imprint webhooks` and the client's calls: the right requests, and what a person sees."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from imprint.cli import app
from imprint.client import Client
from imprint.errors import ImprintError, UsageError

HOOK: dict[str, Any] = {
    "id": "wh_1",
    "url": "https://example.org/a/very/long/path/to/a/hook/that/does/not/fit/into/a/line/of/eighty",
    "events": ["job.failed"],
    "enabled": False,
    "created_at": "2026-07-01T09:00:00Z",
    "delivered": 3,
}
SENT: dict[str, Any] = {
    "id": "msg_1",
    "type": "webhook.test",
    "job": None,
    "status": "pending",
    "attempts": 0,
    "created_at": "2026-07-01T09:00:00Z",
    "answer": None,
    "error": None,
}


def listed(*found: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(found), "has_more": False}


def run(server: Any, *words: str) -> Any:
    return CliRunner().invoke(app, ["webhooks", *words, "--server", server.url])


def test_add_prints_the_secret_and_nothing_else(server: Any) -> None:
    server.say({"status": 201, "body": {**HOOK, "secret": "whsec_x"}})
    result = run(server, "add", HOOK["url"], "--event", "job.failed")
    assert result.exit_code == 0 and result.stdout == "whsec_x\n" and "wh_1 is told: job.failed" in result.stderr
    assert (server.seen[0].path, server.seen[0].json()) == ("/webhooks", {"url": HOOK["url"], "events": ["job.failed"]})


def test_lists(server: Any) -> None:
    server.say({"body": listed(HOOK)})
    shown = run(server, "list").stdout
    assert "wh_1" in shown and "disabled" in shown and "https://" in shown
    server.say({"body": listed(HOOK)})
    assert json.loads(run(server, "list", "--json").stdout) == HOOK
    server.say({"body": listed()})
    assert "imprint webhooks add" in run(server, "list").stdout
    server.say({"body": listed({**SENT, "status": "failed", "error": "answered 500: \x1b[31mno", "answer": 500, "attempts": 10})})
    shown = run(server, "log", "wh_1", "--limit", "5").stdout
    assert "500" in shown and "failed" in shown and "10" in shown
    assert server.seen[-1].path == "/webhooks/wh_1/deliveries?limit=5"


def test_test_waits_for_the_answer(server: Any) -> None:
    taken = {**SENT, "status": "delivered", "answer": 204}
    server.say({"status": 202, "body": SENT}, {"body": listed(SENT)}, {"body": listed(taken)})
    assert "answered 204" in run(server, "test", "wh_1").stdout
    server.say({"status": 202, "body": SENT}, {"body": listed({**SENT, "error": "no whole answer within 10 s"})})
    result = run(server, "test", "wh_1")
    assert isinstance(result.exception, ImprintError) and "no whole answer" in str(result.exception)


def test_test_without_a_worker_says_so(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imprint.commands.webhooks.PATIENCE", 0.3)
    server.say({"status": 202, "body": SENT}, {"body": listed(SENT)})
    result = run(server, "test", "wh_1")
    assert isinstance(result.exception, ImprintError) and "worker" in result.exception.hint


@pytest.mark.parametrize(
    ("word", "method", "path", "body"),
    [
        ("enable", "PATCH", "/webhooks/wh_1", {"enabled": True}),
        ("disable", "PATCH", "/webhooks/wh_1", {"enabled": False}),
        ("delete", "DELETE", "/webhooks/wh_1", None),
    ],
)
def test_changes(server: Any, word: str, method: str, path: str, body: Any) -> None:
    server.say({"body": HOOK})
    assert run(server, word, "wh_1").exit_code == 0
    seen = server.seen[-1]
    assert (seen.method, seen.path) == (method, path) and (json.loads(seen.body) if seen.body else None) == body


def test_an_id_cannot_reach_another_route(server: Any) -> None:
    with Client(server.url) as client:
        client.test_webhook("../jobs/job_1/cancel#")
        assert server.seen[-1].path == "/webhooks/..%2Fjobs%2Fjob_1%2Fcancel%23/test"
        for name in ("", "..", "."):
            with pytest.raises(UsageError):
                client.delete_webhook(name)
