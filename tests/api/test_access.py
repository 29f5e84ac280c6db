"""Who may do what: every route of the OpenAPI document, with every id, for two owners, no key, a wrong key and narrow keys.

A new route is a failure here until it has a line in ROUTES, so that somebody has thought of it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

from api.access import scope_of
from jobs.access import Caller
from jobs.keys import Keys
from jobs.outbox import TYPES
from jobs.records import DatasetDraft, JobDraft, ResultDraft
from jobs.secret import new_secret
from jobs.webhooks import Webhooks
from ssl_core.mapping.table import Columns, write_map
from ssl_core.spec.index import IndexSpec
from support.vectors import write_vectors
from worker.supervisor import Supervisor

JOB, ENCODER, DATASET, NAME, MODEL, PART = "job_id", "encoder_id", "dataset_id", "name", "model", "part"
WEBHOOK = "webhook_id"
LOOKS, USES, CHANGES, LISTS, OPEN = "looks", "uses", "changes", "lists", "open"

# (method, path): what it does, and the body it is sent with. {ids} in a body are those of the victim.
EMBED = {"kind": "embed", "encoder": "{encoder_id}", "data": {"source": "dataset", "id": "{dataset_id}"}}
ROUTES: dict[tuple[str, str], tuple[str, dict[str, Any] | None]] = {
    ("post", "/jobs"): (CHANGES, EMBED),
    ("get", "/jobs"): (LISTS, None),
    ("get", "/jobs/{job_id}"): (LOOKS, None),
    ("patch", "/jobs/{job_id}"): (CHANGES, {"shared": False}),
    ("post", "/jobs/{job_id}/cancel"): (CHANGES, None),
    ("post", "/jobs/{job_id}/pause"): (CHANGES, None),
    ("post", "/jobs/{job_id}/resume"): (CHANGES, None),
    ("get", "/jobs/{job_id}/metrics"): (LOOKS, None),
    ("get", "/jobs/{job_id}/events"): (LOOKS, None),
    ("get", "/jobs/{job_id}/logs"): (LOOKS, None),
    ("get", "/jobs/{job_id}/checkpoints"): (LOOKS, None),
    ("get", "/jobs/{job_id}/preview"): (LOOKS, None),
    ("get", "/jobs/{job_id}/vectors"): (LOOKS, None),
    ("get", "/jobs/{job_id}/vectors/{part}"): (LOOKS, None),
    ("get", "/jobs/{job_id}/result"): (LOOKS, None),
    ("post", "/preview"): (USES, {"data": {"source": "dataset", "id": "{dataset_id}"}}),
    ("get", "/encoders"): (LISTS, None),
    ("get", "/encoders/{encoder_id}"): (LOOKS, None),
    ("get", "/encoders/{encoder_id}/download"): (LOOKS, None),
    ("post", "/encoders/{encoder_id}/index"): (CHANGES, {"vectors": "{vectors_id}"}),
    ("get", "/encoders/{encoder_id}/index"): (LOOKS, None),
    ("delete", "/encoders/{encoder_id}/index"): (CHANGES, None),
    ("post", "/encoders/{encoder_id}/search"): (USES, {"vector": [1.0] * 512}),
    ("get", "/encoders/{encoder_id}/report"): (LOOKS, None),
    ("get", "/aliases"): (LISTS, None),
    ("put", "/aliases/{name}"): (CHANGES, {"encoder": "{encoder_id}"}),
    ("post", "/datasets"): (CHANGES, {"name": "mine", "path": "photos"}),
    ("get", "/datasets"): (LISTS, None),
    ("get", "/datasets/uploads"): (LOOKS, None),
    ("get", "/datasets/{dataset_id}"): (LOOKS, None),
    ("get", "/datasets/{dataset_id}/samples"): (LOOKS, None),
    ("delete", "/datasets/{dataset_id}"): (CHANGES, None),
    ("post", "/embed"): (USES, {"encoder": "{encoder_id}", "images": ["{picture}"]}),
    ("post", "/v1/embeddings"): (USES, {"model": "{encoder_id}", "input": ["{picture}"]}),
    ("get", "/v1/models"): (LISTS, None),
    ("get", "/v1/models/{model}"): (LOOKS, None),
    ("get", "/jobs/{job_id}/tracking"): (LOOKS, None),
    ("post", "/webhooks"): (CHANGES, {"url": "https://example.org/hook"}),
    ("get", "/webhooks"): (LISTS, None),
    ("get", "/webhooks/{webhook_id}"): (LOOKS, None),
    ("patch", "/webhooks/{webhook_id}"): (CHANGES, {"enabled": True}),
    ("delete", "/webhooks/{webhook_id}"): (CHANGES, None),
    ("post", "/webhooks/{webhook_id}/test"): (CHANGES, None),
    ("get", "/webhooks/{webhook_id}/deliveries"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/points"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/points.bin"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/points.arrow"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/points/{row}"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/duplicates"): (LOOKS, None),
    ("get", "/jobs/{job_id}/map/thumbnails/{row}"): (LOOKS, None),
    ("post", "/jobs/{job_id}/map/export"): (USES, {"rows": [0], "format": "csv"}),
    ("post", "/encoders"): (CHANGES, None),
    ("get", "/encoders/{encoder_id}/card"): (LOOKS, None),
    ("get", "/encoders/{encoder_id}/export"): (LOOKS, None),
    ("get", "/livez"): (OPEN, None),
    ("get", "/readyz"): (OPEN, None),
    ("get", "/metrics"): ("metrics", None),
}
MAKES = {("post", "/datasets"), ("post", "/webhooks"), ("post", "/encoders")}  # of nothing that is there
PAGES = ("/", "/docs", "/openapi.json", "/ui/new", "/ui/jobs/{job_id}")
NOT_VISIBLE = {404, 422}  # 422: the body names what is not there


@dataclass
class World:
    """A service with two owners, who have the same things, and keys."""

    running: Any
    ids: dict[str, dict[str, str]]
    keys: dict[str, str]

    def send(self, method: str, path: str, key: str | None, whose: str, body: Any = None, **headers: str) -> httpx.Response:
        def filled(text: str) -> str:
            for name, value in self.ids[whose].items():
                text = text.replace("{" + name + "}", value)
            return text

        path = path.replace("/jobs/{job_id}/map", "/jobs/{map_id}/map")  # of a job that has one
        sent = {} if body is None else {"content": filled(json.dumps(body)), "headers": {"Content-Type": "application/json"}}
        sent["headers"] = {**sent.get("headers", {}), **headers}  # type: ignore[dict-item]
        if key is not None:
            sent["headers"]["Authorization"] = f"Bearer {self.keys.get(key, key)}"  # type: ignore[index]
        return self.running.http.request(method.upper(), filled(path), **sent)


@pytest.fixture(scope="module")
def world(start, put_encoder, exported, picture, tmp_path_factory):
    home = tmp_path_factory.mktemp("world")
    (home / "data" / "photos").mkdir(parents=True)
    for number in range(3):
        (home / "data" / "photos" / f"{number}.png").write_bytes(picture(number))
    with start(home, max_queued=50) as running:
        everything, ids = running.services.repository, {}
        for who in ("alice", "bob"):
            mine = everything.on_behalf_of(Caller(f"{who}-key", who, frozenset({"read", "submit"})))
            running.services.repository = mine
            job = put_encoder(running, exported)
            vectors = _vectors(mine, running, str(job.encoder_id), indexed=who == "alice")
            mine.set_alias("photos", job.encoder_id)
            dataset = mine.create_dataset(DatasetDraft("d", "photos", {}))
            ids[who] = {
                JOB: job.id,
                ENCODER: job.encoder_id,
                DATASET: dataset.id,
                WEBHOOK: Webhooks(mine.database, mine.caller).create("https://example.org/hook", TYPES)[1].id,
                "vectors_id": vectors,
                "map_id": _map(mine, running, str(job.encoder_id), vectors),
                "row": "0",
                NAME: "new-name",
                MODEL: job.encoder_id,
                PART: "part-00000.parquet",
                "picture": base64.b64encode(picture(7)).decode(),
            }
        running.services.repository = everything
        made = Keys(everything.database)
        keys = {"alice": made.create("alice")[0], "bob": made.create("bob")[0], "admin": made.create("root", scopes=["admin"])[0]}
        keys |= {
            f"{scope}-only": made.create(f"{scope}-only", owner="alice", scopes=[scope])[0]
            for scope in ("read", "submit", "metrics")
        }
        keys["expired"] = made.create("expired", seconds=0.001)[0]
        keys["revoked"] = made.create("revoked")[0]
        made.revoke("revoked")
        yield World(running, ids, keys)


def _vectors(repository: Any, running: Any, encoder: str, *, indexed: bool) -> str:
    """The id of an embed job over three pictures; with an index that a worker has built of them."""
    data = {"source": "folder", "path": "photos"}
    job = repository.create(JobDraft(None, "embed", "embed", {"encoder": encoder, "data": data})).id
    repository.claim(job, "test", 60)
    vectors = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    folder = write_vectors(running.home / "vectors" / f"{job}.1", vectors, [f"{row}.png" for row in range(3)], encoder=encoder)
    repository.finish(job, 1, ResultDraft(str(folder.relative_to(running.home)), {"images": 3, "errors": 0, "dim": 512}))
    if not indexed:
        return str(job)
    spec = IndexSpec(encoder=encoder, vectors=job, data=data).model_dump(mode="json")
    index = repository.create(JobDraft(None, "index", "index", spec)).id
    Supervisor(running.services.repository, running.services.settings).run(index)
    assert repository.get(index).status == "succeeded"
    return str(job)


def _map(repository: Any, running: Any, encoder: str, vectors: str) -> str:
    """The id of a map job of those pictures."""
    spec = {"kind": "map", "encoder": encoder, "vectors": vectors, "data": {"source": "folder", "path": "photos"}}
    job = repository.create(JobDraft(None, "map", "map", spec)).id
    repository.claim(job, "test", 60)
    folder = running.home / "maps" / f"{job}.1"
    folder.mkdir(parents=True)
    nothing = np.zeros(3, np.float32)
    nearest = np.array([[1, 2], [0, 2], [0, 1]], np.int32)
    paths = [f"{row}.png" for row in range(3)]
    write_map(folder, Columns(paths, np.zeros((3, 2), np.float32), nothing.astype(np.int32), nothing, nearest, nearest * 0.5))
    facts = {
        "count": 3,
        "left_out": 0,
        "dim": 512,
        "landmarks": 3,
        "clusters": 1,
        "unclustered": 0,
        "seconds": 1.0,
        "size_bytes": 1,
    }
    repository.finish(job, 1, ResultDraft(str(folder.relative_to(running.home)), facts))
    return str(job)


def operations(world: World) -> set[tuple[str, str]]:
    document = world.running.http.get("/openapi.json", headers={"Authorization": f"Bearer {world.keys['admin']}"}).json()
    return {(method, path) for path, methods in document["paths"].items() for method in methods}


def test_every_route_is_known_here(world):
    assert operations(world) == set(ROUTES), "a new route: say in ROUTES what it does, and with which body"


def test_the_scope_of_each_route_is_what_it_does():
    needed = {LOOKS: "read", USES: "read", LISTS: "read", CHANGES: "submit", OPEN: "", "metrics": "metrics"}
    assert {route: scope_of(route[0].upper(), route[1]) for route in ROUTES} == {
        route: needed[does] for route, (does, _) in ROUTES.items()
    }


@pytest.mark.parametrize("key", [None, "wrong", "expired", "revoked", "mistyped", "well-formed"])
def test_without_a_valid_key_only_health_answers(world, key):
    secret = {"mistyped": world.keys["alice"][:-1] + "!", "well-formed": new_secret()}.get(key, key)
    for (method, path), (does, body) in ROUTES.items():
        answer = world.send(method, path, secret, "alice", body)
        if does == OPEN:
            assert answer.status_code == 200
            continue
        assert answer.status_code == 401, (method, path, answer.text)
        assert not secret or world.keys.get(key or "", secret) not in answer.text
    for path in (*PAGES, "/nowhere", "/livez/", "/livez%2f", "//livez", "/jobs/%2e%2e/livez", "/LIVEZ"):
        assert world.send("get", path, secret, "alice").status_code == 401, path
    sse = world.send("get", "/jobs/{job_id}/events", secret, "alice", Accept="text/event-stream")
    assert sse.status_code == 401


def test_another_owner_s_things_are_not_there(world):
    for (method, path), (does, body) in ROUTES.items():
        if does in (OPEN, LISTS, "metrics") or (method, path) in MAKES:
            continue
        answer = world.send(method, path, "bob", "alice", body)
        assert answer.status_code in NOT_VISIBLE, (method, path, answer.status_code, answer.text)
    for path in ("/encoders/{encoder_id}", "/jobs/{job_id}", "/datasets/{dataset_id}"):
        said = world.send("get", path, "bob", "alice").json()
        assert said["detail"].startswith("there is no"), said
    stream = world.send("get", "/jobs/{job_id}/events", "bob", "alice", Accept="text/event-stream")
    assert stream.status_code == 404
    by_job = world.send("post", "/embed", "bob", "alice", {"encoder": "{job_id}", "images": ["{picture}"]})
    assert by_job.status_code == 404


def test_lists_hold_one_s_own(world):
    for path in [path for (_, path), (does, _) in ROUTES.items() if does == LISTS]:
        for who, other in (("alice", "bob"), ("bob", "alice")):
            text = world.send("get", path, who, who).text
            assert not any(each in text for key, each in world.ids[other].items() if key.endswith("_id")), path
            assert any(each in text for key, each in world.ids[who].items() if key.endswith("_id")) or path == "/v1/models", path
        text = world.send("get", path, "admin", "alice").text
        assert all(any(each in text for each in world.ids[who].values()) for who in ("alice", "bob")), path


def test_latest_and_aliases_are_one_s_own(world):
    for who in ("alice", "bob"):
        for name in ("latest", "photos", "{encoder_id}", "{job_id}"):
            answer = world.send("post", "/embed", who, who, {"encoder": name, "images": ["{picture}"]})
            assert answer.status_code == 200 and answer.json()["encoder"] == world.ids[who][ENCODER], (who, name, answer.text)


def test_an_encoder_in_memory_is_not_served_to_others(world):
    """What is known by its id needs no database for an admin; for others it does."""
    body = {"encoder": "{encoder_id}", "images": ["{picture}"]}
    for key, status in (("alice", 200), ("bob", 404), ("admin", 200), ("bob", 404)):
        assert world.send("post", "/embed", key, "alice", body).status_code == status, key


def test_the_owner_and_the_admin_see_them(world):
    for (method, path), (does, body) in ROUTES.items():
        if does not in (LOOKS, USES) or path.endswith(("/preview", "/vectors", "/{part}", "/result", "/uploads", "}/export")):
            continue  # of these there is nothing to see here
        for key in ("alice", "admin"):
            answer = world.send(method, path, key, "alice", body)
            assert answer.status_code == 200, (method, path, key, answer.text)


def test_scopes(world):
    for (method, path), (does, body) in ROUTES.items():
        allowed = {CHANGES: "submit-only", "metrics": "metrics-only", OPEN: None}.get(does, "read-only")
        for key in ("read-only", "submit-only", "metrics-only"):
            if key == allowed or allowed is None:
                continue
            answer = world.send(method, path, key, "alice", body)
            assert answer.status_code == 403, (method, path, key, answer.text)
            assert repr(scope_of(method.upper(), path)) in answer.text
    assert world.send("get", "/metrics", "metrics-only", "alice").status_code == 200
    assert world.send("get", "/jobs/{job_id}", "read-only", "alice").status_code == 200
    assert world.send("post", "/datasets", "submit-only", "alice", {"name": "n", "path": "photos"}).status_code == 201


def test_shared_is_seen_and_not_changed(world):
    assert world.send("patch", "/jobs/{job_id}", "alice", "alice", {"shared": True}).json()["shared"] is True
    try:
        for path in ("/jobs/{job_id}", "/encoders/{encoder_id}", "/jobs/{job_id}/metrics", "/encoders/{encoder_id}/download"):
            assert world.send("get", path, "bob", "alice").status_code == 200, path
        assert (
            world.send("post", "/embed", "bob", "alice", {"encoder": "{encoder_id}", "images": ["{picture}"]}).status_code == 200
        )
        for method, path in (
            ("post", "/jobs/{job_id}/cancel"),
            ("post", "/jobs/{job_id}/resume"),
            ("delete", "/encoders/{encoder_id}/index"),
        ):
            assert world.send(method, path, "bob", "alice").status_code == 403, path
        assert world.send("patch", "/jobs/{job_id}", "bob", "alice", {"shared": False}).status_code == 403
        assert world.send("get", "/encoders/{encoder_id}/report", "bob", "alice").status_code == 404, "it names pictures"
        latest = world.send("post", "/embed", "bob", "bob", {"encoder": "latest", "images": ["{picture}"]}).json()
        assert latest["encoder"] == world.ids["bob"][ENCODER]
        mine = world.send("get", "/encoders?mine=true", "bob", "bob").text
        assert world.ids["alice"][ENCODER] in world.send("get", "/encoders", "bob", "bob").text
        assert world.ids["alice"][ENCODER] not in mine and world.ids["bob"][ENCODER] in mine
    finally:
        assert world.send("patch", "/jobs/{job_id}", "alice", "alice", {"shared": False}).json()["shared"] is False
    assert world.send("get", "/encoders/{encoder_id}", "bob", "alice").status_code == 404


def test_idempotency_keys_are_one_s_own(world):
    made = {}
    for who in ("alice", "bob"):
        body = {"data": {"source": "digits"}, "name": who, "shared": False}
        first = world.send("post", "/jobs", who, who, body, **{"Idempotency-Key": "the-same"})
        again = world.send("post", "/jobs", who, who, body, **{"Idempotency-Key": "the-same"})
        assert first.status_code == again.status_code == 202 and first.json()["id"] == again.json()["id"]
        assert first.json()["owner"] == who
        made[who] = first.json()["id"]
    assert made["alice"] != made["bob"]


def test_events_name_the_key(world):
    body = {"data": {"source": "digits"}}
    job = world.send("post", "/jobs", "alice", "alice", body).json()["id"]
    assert world.send("post", f"/jobs/{job}/cancel", "admin", "alice").status_code == 202
    events = world.send("get", f"/jobs/{job}/events", "alice", "alice").json()["data"]
    assert [(each["type"], each["data"]["by"]) for each in events] == [("created", "alice"), ("cancelled", "root")]


def test_shared_must_be_true_or_false(world):
    answer = world.send("post", "/jobs", "alice", "alice", {"data": {"source": "digits"}, "shared": "yes"})
    assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/shared"


def test_a_comparison_is_of_what_one_sees(world):
    both = ",".join(world.ids[who][ENCODER] for who in ("alice", "bob"))
    assert world.send("get", f"/encoders?compare={both}", "bob", "bob").status_code == 404
    answer = world.send("get", f"/encoders?compare={both}", "admin", "bob")
    assert answer.status_code == 200 and [each["owner"] for each in answer.json()["encoders"]] == ["alice", "bob"]
