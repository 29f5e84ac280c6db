"""Numbers and truth values are what the schema says; in forms and queries, where all is text, text that says them will do."""

from __future__ import annotations

import pytest

from api.body import from_strings
from api.embed_schemas import EmbedOptions

DIGITS = {"source": "digits"}


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("trainer", "max_epochs", "5"),
        ("trainer", "max_epochs", True),
        ("trainer", "max_epochs", 5.5),
        ("optim", "lr", "0.1"),
        ("optim", "lr", False),
        ("data", "drop_last", 1),
        ("data", "drop_last", "true"),
    ],
)
def test_of_a_job(service, section, field, value):
    body = {"data": DIGITS, "preset": "simclr"}
    body[section] = {**(DIGITS if section == "data" else {}), field: value}
    answer = service.http.post("/jobs?validate_only=true", json=body)
    assert answer.status_code == 422
    assert f"/{section}/{field}" in [error["pointer"] for error in answer.json()["errors"]]


def test_a_whole_number_is_a_number(service):
    body = {"data": DIGITS, "preset": "simclr", "optim": {"lr": 1, "warmup_epochs": 0}}
    assert service.http.post("/jobs?validate_only=true", json=body).json()["spec"]["optim"]["lr"] == 1.0


def test_of_forms():
    given = {"normalize": "true", "dimensions": "8", "encoder": "123", "layer": "pooled"}
    options = EmbedOptions.model_validate(from_strings(EmbedOptions, given))
    assert (options.normalize, options.dimensions, options.encoder) == (True, 8, "123")
    assert from_strings(EmbedOptions, {"dimensions": "many", "unknown": "1"}) == {"dimensions": "many", "unknown": "1"}
