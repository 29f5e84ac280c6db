"""Two hundred hostile pictures through POST /embed and through the preparation of a dataset, uploaded as a ZIP.

benchmarks/hostile.py does it with two thousand, and measures memory and time of each process.
"""

from __future__ import annotations

import pytest

from support.archives import zipped
from support.hostile import KINDS, hostile

COUNT, AT_ONCE = 15 * len(KINDS), 35


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """By name; the largest bombs are for the benchmark."""
    made = {name: content for name, kind, content in hostile(COUNT, seed=7) if len(content) < 2 * 2**20}
    assert len(made) >= 190
    return made


def test_embed(service, published, files):
    """Every one is answered, in order, with a vector or with a reason; the service goes on."""
    names, shown, reasons = list(files), 0, []
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        form = [("images", (name, files[name])) for name in some if files[name]]
        options = {"encoder": published.encoder_id, "on_error": "null"}
        answer = service.http.post("/embed", data=options, files=form, timeout=120)
        assert answer.status_code == 200, answer.text
        data = answer.json()["data"]
        assert [each["index"] for each in data] == list(range(len(form)))
        shown += sum(each["embedding"] is not None for each in data)
        reasons += [each["error"] for each in data if each["embedding"] is None]
    assert 30 < shown < len(files) / 2 and all(reasons)
    assert service.http.get("/readyz").status_code in (200, 503)


def test_a_truncated_picture_is_refused(service, published, picture):
    whole = picture()
    for keep in (len(whole) // 2, len(whole) - 60):
        answer = service.http.post(
            "/embed", params={"encoder": published.encoder_id}, content=whole[:keep], headers={"Content-Type": "image/png"}
        )
        assert answer.status_code == 422 and "truncated" in answer.json()["detail"], answer.text


def test_dataset(service, files):
    """The upload keeps what begins like a picture; preparing it, no decoder dies, and what cannot be shown has a reason."""
    from ssl_core.data.cache import Cache
    from ssl_core.data.sources import every_file
    from ssl_core.spec import FolderData

    headers = {"Content-Type": "application/zip"}
    answer = service.http.post("/datasets", params={"name": "hostile"}, content=zipped(files), headers=headers, timeout=120)
    assert answer.status_code == 201, answer.text
    place = service.home / "datasets" / answer.json()["id"]
    found, fingerprint = every_file(FolderData(path="."), place)
    assert len(found.paths) + answer.json()["archive"]["left_out"] == len(files)
    prepared = Cache(service.home / "prepared", 2**30).prepared(found, fingerprint, 32, lambda done, total: None)
    assert 30 < prepared.count - len(prepared.unreadable) < prepared.count
    assert not [reason for reason in prepared.unreadable.values() if "ended with status" in reason]
