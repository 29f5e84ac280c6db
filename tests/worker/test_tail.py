"""What a trainer wrote, read while it writes."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.records import Report
from worker.child import environment, in_words, log_tail
from worker.tail import Tail, left_behind, report


def line(type_: str, **fields: Any) -> bytes:
    return json.dumps({"at": "2026-01-02T03:04:05.678Z", "type": type_, **fields}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class TestTail:
    def test_of_a_file_that_is_not_there_yet(self, path: Path) -> None:
        tail = Tail(path)
        assert tail.read() == []
        append(path, line("finished"))
        assert [event["type"] for event in tail.read()] == ["finished"] and tail.read() == []

    def test_waits_for_the_end_of_a_torn_line(self, path: Path) -> None:
        """However it is torn, in the middle of a character too."""
        whole = line("warning", message="grüße 🙂")
        whole = json.dumps(json.loads(whole), ensure_ascii=False).encode() + b"\n"
        tail, seen = Tail(path), []
        for byte in whole + line("finished"):
            append(path, bytes([byte]))
            seen += tail.read()
        assert [event["type"] for event in seen] == ["warning", "finished"] and seen[0]["message"] == "grüße 🙂"

    def test_passes_over_what_is_no_event(self, path: Path) -> None:
        broken = [
            b"Traceback (most recent call last):\n",
            b"\n",
            b"[1, 2]\n",
            b'"type"\n',
            b'{"no": "type"}\n',
            b'{"type": 3}\n',
            b"\xff\xfe\x00\n",
            b"[" * 100_000 + b"\n",
            line("progress"),
            line("progress", step="3"),
            line("metrics", step=1, epoch=0),
            line("metrics", step=1, epoch=0, values={"loss": "high"}),
            line("metrics", step=1, epoch=None, values={}),
            line("phase"),
            line("phase", phase="x" * 30),
            line("checkpoint", file="a"),
        ]
        append(path, b"".join(broken) + line("finished"))
        assert [event["type"] for event in Tail(path).read()] == ["finished"]

    def test_reads_much_in_pieces(self, path: Path) -> None:
        append(path, line("warning", message="x" * 1000) * 3000)  # 3 MB
        tail, pieces = Tail(path), []
        while events := tail.read():
            pieces.append(len(events))
        assert sum(pieces) == 3000 and len(pieces) >= 3

    @pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1, 5 * 2**20])
    def test_passes_over_a_line_that_is_too_long(self, path: Path, size: int) -> None:
        append(path, line("warning", message="before") + b"x" * size + b"\n" + line("warning", message="after"))
        tail, seen = Tail(path), []
        for _ in range(10):
            seen += tail.read()
        assert [event["message"] for event in seen] == ["before", "after"]

    def test_of_a_long_line_that_is_still_being_written(self, path: Path) -> None:
        tail = Tail(path)
        append(path, b"x" * (3 * 2**20))
        assert tail.read() == []
        append(path, b"x" * 100)
        assert tail.read() == []
        append(path, b"x\n" + line("finished"))
        assert [event["type"] for event in tail.read()] == ["finished"]


class TestReport:
    def test_of_many_events_is_one(self) -> None:
        events = [
            {"type": "phase", "phase": "preparing", "done": 1, "total": 9},
            {"type": "phase", "phase": "preparing", "done": 9, "total": 9},
            {"type": "phase", "phase": "training"},
            {"type": "progress", "at": "x", "epoch": 0, "step": 1, "fraction": 0.1},
            {"type": "metrics", "at": "2026-01-02T03:04:05.678Z", "epoch": 0, "step": 1, "values": {"a": 1.0, "b": None}},
            {"type": "phase", "phase": "evaluating"},
            {"type": "phase", "phase": "training"},
            {"type": "progress", "at": "x", "epoch": 0, "step": 2, "fraction": 0.2},
            {"type": "checkpoint", "file": "f", "epoch": 0, "step": 2},
            {"type": "health", "at": "x", "verdict": "learning", "reasons": []},
            {"type": "warning", "at": "x", "message": "slow"},
            {"type": "note", "at": "x", "message": "stopped early"},
            {"type": "finished", "at": "x"},
        ]
        made = report(events)
        assert made.progress == {"epoch": 0, "step": 2, "fraction": 0.2}
        assert (made.phase, made.checkpoint_step, made.health) == ("training", 2, {"verdict": "learning", "reasons": []})
        at = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
        assert [(point.name, point.step, point.value, point.at) for point in made.points] == [
            ("a", 1, 1.0, at),
            ("b", 1, None, at),
        ]
        # Phases as the user follows them: not each of their many reports, nor the way to and from an evaluation.
        assert made.events == [
            ("phase", {"phase": "preparing"}),
            ("phase", {"phase": "training"}),
            ("warning", {"message": "slow"}),
            ("note", {"message": "stopped early"}),
        ]

    def test_what_the_trainer_found_is_kept_with_the_job_and_among_its_events(self) -> None:
        found = {"images": 9, "unreadable": 1, "unreadable_examples": [["a.png", "truncated"]]}
        made = report([{"type": "data", "at": "x", **found}])
        assert made.data == found and made.events == [("data", found)]

    def test_how_many_files_are_decoded_is_progress(self) -> None:
        def phase(**fields: Any) -> dict[str, Any]:
            return {"type": "phase", "phase": "preparing", **fields}

        said = report([phase(), phase(done=1, total=9, images_per_second=5.0, eta_seconds=1.6)])
        assert said.progress == {"images_prepared": 1, "images_total": 9, "images_per_second": 5.0, "eta_seconds": 1.6}
        assert [type_ for type_, _ in said.events] == ["phase"], "one event for a phase, however often it is heard of"
        assert report([phase(done="many", total=9)]).progress is None

    def test_of_nothing_is_nothing(self) -> None:
        made = report([], "training")
        assert (made.phase, made.progress, made.points, made.events) == ("training", None, [], [])


class TestChild:
    def test_gets_no_secrets(self) -> None:
        secret = ["IMPRINT_DATABASE_URL", "IMPRINT_API_KEYS", "PGPASSWORD", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"]
        secret += ["CUDA_API_KEY", "TORCH_TOKEN"]
        useful = ["PATH", "HOME", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "LC_ALL", "TORCH_HOME", "VIRTUAL_ENV", "TMPDIR"]
        assert sorted(environment({name: "x" for name in secret + useful})) == sorted(useful)

    @pytest.mark.parametrize(
        ("status", "words"),
        [(-9, "SIGKILL (often"), (-11, "SIGSEGV"), (1, "status 1"), (-64, "signal 64|SIGRTMAX"), (3, "SIGTERM")],
    )
    def test_its_end_is_put_in_words(self, status: int, words: str) -> None:
        assert any(each in in_words(status) for each in words.split("|"))

    def test_its_last_words(self, tmp_path: Path) -> None:
        assert log_tail(tmp_path) == ""
        (tmp_path / "log.txt").write_bytes(
            os.urandom(50_000) + b"\n" + b"\n".join(b"line %d" % number for number in range(30)) + b"\n\n"
        )
        assert log_tail(tmp_path, 2) == "line 28\nline 29"


class TestLeftBehind:
    """By trainers whose worker was killed."""

    def test_metrics_of_the_ends_oldest_first(self, tmp_path: Path) -> None:
        for number in (1, 2):
            noise = [line("progress", step=step) for step in range(20_000)]  # more than a burst
            metrics = [line("metrics", step=step, epoch=0, values={"loss": number}) for step in (number, number + 1)]
            append(tmp_path / str(number), b"".join([*noise, *metrics]) + b'{"type": "torn')
        found = left_behind([tmp_path / "0", tmp_path / "1", tmp_path / "2"])
        assert found is not None and [(point.step, point.value) for point in found.points] == [(1, 1), (2, 1), (2, 2), (3, 2)]
        assert found == Report(points=found.points), "health, phase and checkpoint are the new attempt's"

    def test_nothing(self, tmp_path: Path) -> None:
        append(tmp_path / "1", line("phase", phase="training"))
        assert left_behind([]) is None and left_behind([tmp_path / "0", tmp_path / "1"]) is None
