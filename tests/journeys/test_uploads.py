"""Pictures go in as a ZIP, and an encoder comes out; too many that cannot be read, and none does."""

from __future__ import annotations

from pathlib import Path

import pytest

from imprint.errors import Conflict
from support.archives import pictures, png, zipped
from support.journeys import spec
from support.service import Service

BROKEN = {f"cat/broken-{number}.png": png(number)[:60] for number in range(6)}


def test_from_a_zip_to_embeddings(service: Service, tmp_path: Path) -> None:
    """60 pictures, one of them cut off: it is left out and told. While it trains, the dataset cannot be deleted."""
    client, file = service.client, tmp_path / "pets.zip"
    file.write_bytes(zipped({**pictures(30), **dict(list(BROKEN.items())[:1])}))
    dataset = client.upload_dataset(file)
    short = {**spec(), "data": {"source": "dataset", "id": dataset.id, "size": 32}}
    short["trainer"] = {**short["trainer"], "max_epochs": 1}
    job = client.submit(**short)
    with pytest.raises(Conflict, match=job.id):
        client.delete_dataset(dataset.id)
    job = service.succeeded(job.id)
    found = job.raw["data"]
    assert found["images"] + found["held_out"] + found["unreadable"] >= 60 and found["unreadable"] == 1
    warnings = [event.data["message"] for event in client.events(job.id) if event.type == "warning"]
    assert any("1 of the images cannot be read and are left out; the first, cat/broken-0.png" in each for each in warnings)
    vector = client.embed([service.home / "datasets" / dataset.id / "cat/0.png"], encoder=job.id)
    assert vector.shape[0] == 1
    client.delete_dataset(dataset.id)
    assert not (service.home / "datasets" / dataset.id).exists()
    assert not [each for each in (service.home / "prepared").glob("*/entry.json") if dataset.id in each.read_text()]


def test_too_many_that_cannot_be_read(service: Service, tmp_path: Path) -> None:
    """6 of 66: more than 5 %. With data.max_unreadable the job says that it may."""
    file = tmp_path / "broken.zip"
    file.write_bytes(zipped({**pictures(30), **BROKEN}))
    dataset = service.client.upload_dataset(file)
    wanted = {"data": {"source": "dataset", "id": dataset.id, "size": 32}}
    job = service.ended(service.client.submit(**{**spec(), **wanted}).id)
    assert job.status == "failed" and job.error is not None and job.error.code == "data_error"
    assert "images in '.' are unreadable, more than the 5 % of data.max_unreadable" in job.error.message
    assert "cat/broken-" in job.error.message
