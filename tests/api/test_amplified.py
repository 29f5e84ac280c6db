"""Small requests that once made large answers, long work, or a 500: each is refused, in few words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from api.embed_schemas import EmbedRequest
from api.map_schemas import MapExport
from api.openai import OpenAIRequest
from api.search_schemas import SearchRequest
from jobs.records import JobDraft

JSON = {"Content-Type": "application/json"}
ENCODER = "enc_01M8C2KWJH336RGHPJCX1WGSSB"
MANY = 200_000
HERE = {"Sec-Fetch-Site": "same-origin"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def listed(field: bytes, item: bytes, count: int = MANY) -> bytes:
    return b'{"' + field + b'":[' + b",".join([item] * count) + b"]}"


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/embed", listed(b"images", b"0")),
        ("/v1/embeddings", listed(b"input", b"0")),
        (f"/encoders/{ENCODER}/search", listed(b"vector", b'""')),
        (f"/encoders/{ENCODER}/search", listed(b"vector", b"[]")),
        ("/embed", b'{"' + b"k" * 5_000_000 + b'":0}'),
        ("/embed", b'{"images":["x"],"encoder":"' + b"k" * 5_000_000 + b'"}'),
        ("/jobs", b"{" + b",".join(b'"k%d":0' % number for number in range(60_000)) + b"}"),
        ("/jobs", b'{"labels":{' + b",".join(b'"%d":0' % number for number in range(60_000)) + b"}}"),
        ("/jobs", b'{"data":{"source":"digits"},"encoder":{"arch":"timm/' + b"resnet" * 160_000 + b'"}}'),
    ],
    ids=["embed", "openai", "search", "search lists", "a long name", "a long value", "unknown fields", "labels", "arch"],
)
def test_what_is_wrong_a_thousand_times_is_told_in_few_words(service, address: str, body: bytes):
    answer = service.http.post(address, content=body, headers=JSON)
    assert answer.status_code == 422, answer.text[:300]
    assert len(answer.content) < 100_000
    assert len(answer.json().get("errors", [])) <= 100


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (EmbedRequest, {"images": [0] * MANY}),
        (OpenAIRequest, {"input": [0] * MANY}),
        (SearchRequest, {"vector": [""] * MANY}),
        (SearchRequest, {"vector": [0.0] * MANY}),
        (MapExport, {"rows": [""] * MANY}),
    ],
)
def test_lists_are_left_at_the_first_wrong_item(model: Any, body: dict[str, Any]):
    with pytest.raises(ValidationError) as refused:
        model.model_validate(body)
    assert refused.value.error_count() <= 3


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/ui/login", {**FORM, "Origin": "http://[::1"}, b"key=a"),
        ("/ui/logout", {"Origin": "http://[::1"}, b""),
        ("/ui/login", {"Content-Type": "multipart/form-data; boundary=B; charset=undefined", **HERE}, b"--B--"),
        ("/ui/login", {**FORM, **HERE}, b"key=%ED%A0%80"),
        ("/ui/login", {**FORM, **HERE}, b"key=\xed\xa0\x80"),
    ],
)
def test_the_login_refuses_what_is_odd(service, path: str, headers: dict[str, str], body: bytes):
    answer = service.http.post(path, content=body, headers=headers, follow_redirects=False)
    assert answer.status_code < 500, answer.text[:300]
    service.http.cookies.clear()


def test_no_key_has_a_lone_surrogate():
    from jobs.secret import digest

    assert len({digest("a"), digest("\udc80"), digest("\ud800")}) == 3


class TestNul:
    @pytest.mark.parametrize("name", ["%00", "a%00b", "job_%00", "enc_%00"])
    def test_in_the_name_of_a_model(self, service, name: str):
        assert service.http.get(f"/v1/models/{name}").status_code == 404

    @pytest.mark.parametrize("arch", ["timm/%00", "timm/a%00b", "timm/" + "x" * 300, "timm/ä"])
    def test_in_the_name_of_a_network(self, service, arch: str):
        assert service.http.post(f"/encoders?arch={arch}", content=b"x").status_code == 422


def test_models_are_listed_up_to_a_thousand(service, publish):
    encoder = publish().encoder_id
    assert encoder in [each["id"] for each in service.http.get("/v1/models").json()["data"]]


def test_an_index_job_is_found_behind_those_of_others(service):
    first = service.repository.create(JobDraft(None, "index", "index", {"encoder": ENCODER}))
    other = ENCODER[:-1] + "C"
    for _ in range(205):
        service.repository.create(JobDraft(None, "index", "index", {"encoder": other}))
    assert [job.id for job in service.repository.index_jobs(ENCODER)] == [first.id]
    assert len(service.repository.index_jobs(other)) == 205
    service.repository.request_cancel(first.id)
    newer = service.repository.create(JobDraft(None, "index", "index", {"encoder": ENCODER}))
    assert [job.id for job in service.repository.index_jobs(ENCODER)] == [newer.id]
