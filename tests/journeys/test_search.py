"""From a folder of pictures to the nearest of them: embed, index, search, report, with real parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.journeys import PICTURES, Undisturbed
from support.service import Service


def test_from_a_folder_to_its_nearest_pictures(service: Service, undisturbed: Undisturbed, pictures: Path) -> None:
    vectors = service.succeeded(service.client.embed_folder("pictures", undisturbed.job.id).id)
    index = service.client.index(undisturbed.job.id)
    job = service.succeeded(index.build(vectors.id).id)
    assert job.raw["result"]["count"] == PICTURES and job.raw["result"]["left_out"] == 1, "one file is no picture"
    assert [event.data["phase"] for event in service.history(job.id, "phase")] == ["indexing", "neighbours", "saving"]
    assert index.status()["index"]["vectors"] == vectors.id

    asked = pictures / "pictures" / "striped" / "017.png"
    found = index.search(asked, k=PICTURES, thumbnails=True)
    scores = {each.path: each.score for each in found}
    assert scores["striped/017.png"] == pytest.approx(1, abs=2e-3) and found[0].score - scores["striped/017.png"] < 2e-3
    assert [each.score for each in found] == sorted(scores.values(), reverse=True)
    assert all((each.thumbnail or "").startswith("data:image/jpeg;base64,") for each in found)

    report = index.report(threshold=0.0, limit=1)
    assert report["duplicates"]["extra"] < PICTURES and report["outliers"]["count"] == PICTURES
    assert index.report_csv().count(b"\n") == PICTURES + 1
