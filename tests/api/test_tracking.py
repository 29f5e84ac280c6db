"""`tracking` in a body: what is taken, what is refused, and what is shown of it."""

from __future__ import annotations

import pytest

from jobs.trackings import Trackings

DIGITS = {"data": {"source": "digits"}}


def test_is_stored_beside_the_spec_and_shown(service):
    tracking = {"tensorboard": True, "mlflow": {"uri": "https://mlflow.example.org", "experiment": "photos"}}
    job = service.http.post("/jobs", json={**DIGITS, "tracking": tracking}).json()
    assert job["tracking"] == {"tensorboard": {}, "mlflow": tracking["mlflow"]} and "tracking" not in job["spec"]
    assert job["links"]["tracking"] == f"/jobs/{job['id']}/tracking"
    shown = service.http.get(job["links"]["tracking"]).json()["data"]
    assert [each["tracker"] for each in shown] == ["mlflow", "tensorboard"]
    assert all(each["run"] is None and each["error"] is None and not each["settled"] for each in shown)
    telling = Trackings(service.repository.database).claim("one", 60)
    assert telling is not None
    Trackings(service.repository.database).failed(telling, "it is away")
    shown = service.http.get(job["links"]["tracking"]).json()["data"]
    assert {each["error"] for each in shown} == {None, "it is away"}


@pytest.mark.parametrize("tracking", [None, {}, {"tensorboard": False}, {"mlflow": False}])
def test_none(service, tracking):
    job = service.http.post("/jobs", json={**DIGITS, "tracking": tracking}).json()
    assert job["tracking"] is None and "tracking" not in job["links"]
    assert service.http.get(f"/jobs/{job['id']}/tracking").json()["data"] == []


@pytest.mark.parametrize("kind", ["submit", "validate", "preview"])
@pytest.mark.parametrize(
    ("tracking", "pointer", "said"),
    [
        ("yes", "/tracking", "dictionary"),
        ({"tensorbord": True}, "/tracking/tensorbord", "did you mean 'tensorboard'"),
        ({"tensorboard": "yes"}, "/tracking/tensorboard", "boolean"),
        ({"mlflow": True}, "/tracking/mlflow", "IMPRINT_MLFLOW_URI"),
        ({"mlflow": {"uri": "http://10.0.0.1"}}, "/tracking/mlflow/uri", "10.0.0.1 is not a public address"),
        ({"mlflow": {"uri": "https://user:pass@example.org"}}, "/tracking/mlflow/uri", "password"),
        ({"mlflow": {"uri": "https://example.org", "experiment": ""}}, "/tracking/mlflow/experiment", "at least 1"),
    ],
)
def test_what_is_wrong_is_said(service, kind, tracking, pointer, said):
    path = {"submit": "/jobs", "validate": "/jobs?validate_only=true", "preview": "/preview"}[kind]
    answer = service.http.post(path, json={**DIGITS, "tracking": tracking})
    assert answer.status_code == 422, answer.text
    found = answer.json()["errors"]
    assert any(error["pointer"] == pointer and said in error["detail"] for error in found), found


def test_the_service_s_own_server_may_be_anywhere(start, tmp_path):
    with start(tmp_path, mlflow_uri="http://mlflow.internal:5000") as running:
        for chosen in (True, {"uri": "http://mlflow.internal:5000"}, {"experiment": "mine"}):
            assert running.http.post("/jobs", json={**DIGITS, "tracking": {"mlflow": chosen}}).status_code == 202


def test_of_other_kinds_too(service, published):
    body = {"kind": "linear_probe", "encoder": published.id, **DIGITS, "tracking": {"tensorboard": True}}
    assert service.http.post("/jobs", json=body).json()["tracking"] == {"tensorboard": {}}
