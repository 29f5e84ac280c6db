"""What is said of a trainer that has ended."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.workplace import Workplace
from worker.child import crash


def test_a_full_disk_is_named(place: Workplace) -> None:
    said = "OSError: [Errno 28] No space left on device"
    job = place.run(place.submit(print=said, exit_at={"step": 1, "status": 1}, no_checkpoints=True), max_attempts=1)
    assert job.status == "failed" and job.error is not None and job.error["code"] == "disk_full"
    assert "no space is left" in job.error["message"] and "make room" in job.error["hint"]


def test_also_where_not_even_that_could_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert crash(1, tmp_path)["code"] == "crashed"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    assert crash(1, tmp_path)["code"] == "disk_full"
    assert "SIGBUS" in crash(-7, tmp_path)["message"]
