"""Our event files as TensorBoard itself reads them: its reader, and its server."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.records import Point
from support.composed import free_port
from support.processes import eventually
from support.workplace import Workplace
from worker.tensorboard import TensorBoard, crc32c, events, scalar_event, tag_and_step

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def points(first: int, last: int, name: str = "train_loss") -> list[Point]:
    return [Point(name, step, 0, 1 / step, AT) for step in range(first, last + 1)]


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def job_of(place: Workplace, **spec: Any) -> Any:
    return place.repository.get(place.submit(**spec))


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4
    assert crc32c(b"") == 0 and crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**31, 2**40])
def test_steps_and_tags_of_any_size(step: int) -> None:
    for tag in ("a", "train_loss", "é" * 100):
        assert tag_and_step(scalar_event(1.0, step, tag, 0.5)) == (tag, step)


def test_tensorboard_reads_what_was_written(place: Workplace, tmp_path: Path) -> None:
    job = job_of(place, method={"name": "moco"}, text="été ☀")
    board = TensorBoard(tmp_path / "run", job)
    odd = [Point("odd", step, 0, value, AT) for step, value in enumerate([math.inf, None, 1e300, -0.0, 2.5])]
    board.write([*points(1, 300), *odd])
    board.tell(job, "https://imprint.example.org/jobs/1")
    board.close()
    found = read(tmp_path / "run")
    scalars = found.Scalars("train_loss")
    assert [(each.step, each.value) for each in scalars] == [(step, pytest.approx(1 / step, rel=1e-6)) for step in range(1, 301)]
    assert {each.wall_time for each in scalars} == {AT.timestamp()}
    values = [each.value for each in found.Scalars("odd")]
    assert values[0] == math.inf and math.isnan(values[1]) and values[2] == math.inf and values[3:] == [0.0, 2.5]
    [told] = found.Tensors("imprint/spec")
    text = told.tensor_proto.string_val[0].decode()
    assert json.loads(text) == {"method": {"name": "moco"}, "text": "été ☀"} and text.startswith("    ")
    assert found.SummaryMetadata("imprint/spec").plugin_data.plugin_name == "text"


def test_a_second_session_knows_what_the_first_wrote(place: Workplace, tmp_path: Path) -> None:
    """The first is cut off in the middle of a record, as by SIGKILL or a full disk."""
    job = job_of(place)
    first = TensorBoard(tmp_path, job)
    first.write(points(1, 10))
    first.write(points(1, 4, "knn_top1"))
    first.abandon()
    [file] = tmp_path.glob("events.out.*")
    os.truncate(file, file.stat().st_size - 3)
    second = TensorBoard(tmp_path, job)
    assert second.cursor == {"train_loss": 10, "knn_top1": 3}
    second.write([*points(4, 6, "knn_top1"), *points(11, 12)])
    second.close()
    found = read(tmp_path)
    assert [each.step for each in found.Scalars("knn_top1")] == [1, 2, 3, 4, 5, 6]
    assert [each.step for each in found.Scalars("train_loss")] == list(range(1, 13))


def test_what_is_no_record_ends_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"", b"short", b"\xff" * 100):
        path.write_bytes(content)
        assert list(events(path)) == []


def test_the_server_shows_it(place: Workplace, tmp_path: Path) -> None:
    """TensorBoard itself takes 3 s to start."""
    job = job_of(place)
    board = TensorBoard(tmp_path / job.id, job)
    board.write(points(1, 5))
    board.close()
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(tmp_path), "--port", str(port), "--load_fast", "false"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:

        def shown() -> Any:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/plugin/scalars/tags", timeout=2) as answer:
                    return json.loads(answer.read())
            except (urllib.error.URLError, OSError):
                return None

        tags = eventually(shown, "TensorBoard shows the run", 60)
        assert list(tags) == [job.id] and list(tags[job.id]) == ["train_loss"]
    finally:
        process.terminate()
        process.wait(10)
