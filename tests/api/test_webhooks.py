"""/webhooks: what is checked when one is made, what is shown, and what is not."""

from __future__ import annotations

import json

import pytest

from api.examples import WEBHOOK_CREATE
from jobs.access import Caller
from jobs.outbox import TYPES
from jobs.webhooks import Webhooks


def test_from_its_making_to_its_end(service):
    made = service.http.post("/webhooks", json=WEBHOOK_CREATE)
    assert made.status_code == 201
    body = made.json()
    here = f"/webhooks/{body['id']}"
    assert made.headers["location"] == here
    assert body["secret"].startswith("whsec_") and body["enabled"] is True and body["owner"] is None
    assert body["events"] == WEBHOOK_CREATE["events"] and (body["delivered"], body["failed"]) == (0, 0)
    shown = service.http.get(here).json()
    assert shown == {name: value for name, value in body.items() if name != "secret"}
    assert service.http.get("/webhooks").json()["data"] == [shown]

    test = service.http.post(f"{here}/test")
    assert test.status_code == 202 and test.json()["type"] == "webhook.test" and test.json()["status"] == "pending"
    assert service.http.get(f"{here}/deliveries").json()["data"] == [test.json()]
    off = service.http.patch(here, json={"enabled": False}).json()
    assert off["enabled"] is False and off["disabled_why"] == "by user"
    refused = service.http.post(f"{here}/test")
    assert refused.status_code == 409 and "disabled (by user)" in refused.json()["detail"]
    assert service.http.patch(here, json={"enabled": True}).json()["enabled"] is True

    assert service.http.delete(here).status_code == 204
    for answer in (service.http.get(here), service.http.delete(here), service.http.get(f"{here}/deliveries")):
        assert answer.status_code == 404


def test_a_job_that_is_submitted_is_in_the_log_of_deliveries(service):
    hook = service.http.post("/webhooks", json={"url": "https://example.org"}).json()
    assert hook["events"] == list(TYPES)
    job = service.http.post("/jobs", json={"data": {"source": "digits"}}).json()["id"]
    service.http.post(f"/jobs/{job}/cancel")
    log = service.http.get(f"/webhooks/{hook['id']}/deliveries", params={"limit": 1}).json()
    assert log["has_more"] and (log["data"][0]["type"], log["data"][0]["job"]) == ("job.cancelled", job)
    rest = service.http.get(f"/webhooks/{hook['id']}/deliveries", params={"after": log["last_id"]}).json()
    assert [each["type"] for each in rest["data"]] == ["job.queued"]
    service.http.delete(f"/webhooks/{hook['id']}")


@pytest.mark.parametrize(
    ("body", "pointer", "said"),
    [
        ({}, "/url", "required"),
        ({"url": "http://169.254.169.254/latest"}, "/url", "link-local"),
        ({"url": "http://127.0.0.1:8000/jobs"}, "/url", "127.0.0.1 is not a public address; IMPRINT_OUTBOUND_PRIVATE"),
        ({"url": "https://user:pass@example.org"}, "/url", "password"),
        ({"url": "ftp://example.org"}, "/url", "https://"),
        ({"url": 5}, "/url", "string"),
        ({"url": "https://example.org", "events": []}, "/events", ""),
        ({"url": "https://example.org", "events": ["job.succeded"]}, "/events", "did you mean 'job.succeeded'"),
        ({"url": "https://example.org", "event": ["job.failed"]}, "/event", "events"),
    ],
)
def test_what_is_wrong_is_said(service, body, pointer, said):
    answer = service.http.post("/webhooks", json=body)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer and said in error["detail"]


def test_private_networks_that_are_let_in(start, tmp_path):
    with start(tmp_path, outbound_private="10.0.0.0/8") as running:
        assert running.http.post("/webhooks", json={"url": "http://10.1.2.3/hook"}).status_code == 201
        assert running.http.post("/webhooks", json={"url": "http://192.168.1.1/hook"}).status_code == 422


def test_the_secret_is_nowhere_else(service):
    made = service.http.post("/webhooks", json={"url": "https://example.org"}).json()
    here = f"/webhooks/{made['id']}"
    service.http.post(f"{here}/test")
    for answer in (service.http.get(here), service.http.get("/webhooks"), service.http.get(f"{here}/deliveries")):
        assert made["secret"] not in answer.text and "whsec_" not in answer.text
    hooks = Webhooks(service.repository.database, Caller("x", scopes=frozenset({"admin"})))
    sending = hooks.claim(60)
    assert sending is not None and made["secret"] not in repr(sending) and json.loads(sending.body)["type"] == "webhook.test"
