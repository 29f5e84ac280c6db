"""What a person sees: 80 columns, on a terminal and in a pipe."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from imprint import progress, tables, words
from imprint.commands import options
from imprint.errors import Problem, Rejected
from imprint.records import Encoder, Job

ID = "01K" + "A" * 23
RUNNING: dict[str, Any] = {
    "id": f"job_{ID}",
    "name": "a rather long name for a job that someone typed",
    "status": "running",
    "phase": "training",
    "created_at": "2026-01-01T10:00:00Z",
    "started_at": "2026-01-01T10:00:02Z",
    "finished_at": None,
    "progress": {
        "epoch": 99,
        "step": 1100,
        "steps_total": 2200,
        "fraction": 0.5,
        "images_per_second": 12345.6,
        "eta_seconds": 4000,
    },
    "metrics": {"train_loss": 3.21456, "knn_top1": 91.234, "nothing": None},
    "health": {"verdict": "learning", "reasons": []},
    "spec": {"method": {"name": "simclr"}, "trainer": {"max_epochs": 200}},
    "encoder": None,
}
DONE = {**RUNNING, "status": "succeeded", "phase": None, "encoder": f"enc_{ID}", "finished_at": "2026-01-01T11:00:05Z"}


def text(*things: Any, terminal: bool = False) -> list[str]:
    screen = Console(file=io.StringIO(), width=80, force_terminal=terminal, highlight=False, color_system=None)
    for thing in things:
        screen.print(thing)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue().splitlines()


class TestBar:
    def test_two_lines_of_80_columns_with_everything(self) -> None:
        bar, numbers = text(progress.picture(Job.parse(RUNNING)), terminal=True)
        assert len(bar) <= 80 and len(numbers) <= 80
        assert bar.startswith("training") and "50 %" in bar and "epoch 100/200" in bar
        for part in ("loss 3.215", "12346 images/s", "ETA 1:06:40", "kNN 91.2 %"):
            assert part in numbers

    def test_an_alarm_is_a_third_line_and_everything_else_is_not(self) -> None:
        collapsed = {"verdict": "collapsed", "reasons": ["all images are one"], "suggestions": ["lower optim.lr"]}
        _, _, alarm = text(progress.picture(Job.parse({**RUNNING, "health": collapsed})))
        assert "collapsed: all images are one" in alarm
        assert len(text(progress.picture(Job.parse({**RUNNING, "health": {**collapsed, "verdict": "plateaued"}})))) == 2

    def test_preparing_says_how_many_pictures_are_decoded(self) -> None:
        far = {"images_prepared": 12000, "images_total": 50000, "images_per_second": 3400.0, "eta_seconds": 11.2}
        preparing = {**RUNNING, "phase": "preparing", "progress": far, "metrics": {}}
        bar, numbers = text(progress.picture(Job.parse(preparing)))
        assert "24 %" in bar
        assert "12,000 of 50,000 pictures decoded   3400 images/s   ETA 0:11" in numbers

    def test_the_speed_of_decoding_is_not_taken_for_that_of_training(self) -> None:
        far = {"images_prepared": 50000, "images_total": 50000, "images_per_second": 3400.0, "eta_seconds": 0.0}
        assert "images/s" not in text(progress.picture(Job.parse({**RUNNING, "progress": far})))[1]

    def test_the_summary_says_where_the_time_of_a_step_went(self) -> None:
        shares = {"forward_backward_share": 0.91, "augment_share": 0.06, "optimizer_share": 0.02, "data_wait_share": 0.001}
        done = {**DONE, "metrics": {"images_per_second": 548.3, **shares}}
        shown = " ".join(" ".join(text(progress.summary(Job.parse(done)))).split())
        assert "548 images/s: forward and backward 91 %, drawing views 6 %, optimiser 2 %" in shown
        assert "waiting" not in shown

    def test_waiting_is_explained(self) -> None:
        queued = {**RUNNING, "status": "queued", "progress": None, "metrics": {}}
        assert "waiting for a worker" in text(progress.picture(Job.parse(queued)))[1]


class TestPlainLines:
    def run(self, *bodies: dict[str, Any]) -> tuple[list[str], Job]:
        screen = Console(file=io.StringIO(), width=80)
        last = progress.follow((Job.parse(body) for body in bodies), screen)
        assert isinstance(screen.file, io.StringIO)
        return screen.file.getvalue().splitlines(), last

    def test_fit_and_hold_the_numbers(self) -> None:
        [line], _ = self.run(RUNNING)
        assert len(line) <= 80
        for part in ("training", "epoch 100/200", "loss 3.215", "12346 img/s", "ETA 1:06:40", "kNN 91.2 %"):
            assert part in line

    def test_only_what_is_remarkable(self) -> None:
        better = {**RUNNING, "metrics": {**RUNNING["metrics"], "knn_top1": 95.0}}
        lines, last = self.run(RUNNING, RUNNING, RUNNING, better, DONE)
        assert [line.split()[1] for line in lines] == ["training", "training", "succeeded"]
        assert last.status == "succeeded"

    def test_an_alarm_is_told_once_with_what_to_try(self) -> None:
        bad = {**RUNNING, "health": {"verdict": "collapsing", "reasons": ["it shrinks"], "suggestions": ["this", "that"]}}
        lines, _ = self.run(RUNNING, bad, bad, DONE)
        assert [line.strip() for line in lines if "it shrinks" in line] == ["collapsing: it shrinks; try: this; that"]

    def test_a_paused_job_ends_the_watching(self) -> None:
        _, last = self.run(RUNNING, {**RUNNING, "status": "paused"}, DONE)
        assert last.status == "paused"


class TestTables:
    def test_a_list_of_jobs_keeps_the_ids_whole(self) -> None:
        lines = text(tables.jobs([Job.parse(RUNNING), Job.parse(DONE)]))
        assert all(len(line) <= 80 for line in lines) and len(lines) == 3
        assert lines[1].startswith(RUNNING["id"]) and "50 %" in lines[1] and "91.2 %" in lines[1]

    def test_a_list_of_encoders_too(self) -> None:
        body = {"id": f"enc_{ID}", "arch": "resnet18", "dim": 512, "method": "simclr", "aliases": ["latest", "cats-of-the-house"]}
        lines = text(tables.encoders([Encoder.parse({**body, "metrics": {"knn_top1": 90.0}})]))
        assert all(len(line) <= 80 for line in lines)
        assert lines[1].startswith(body["id"]) and "resnet18" in lines[1]

    def test_the_summary_of_a_failure_says_why(self) -> None:
        failed = {**RUNNING, "status": "failed", "error": {"code": "x", "message": "the disk is full", "hint": "free some"}}
        shown = "\n".join(text(progress.summary(Job.parse(failed))))
        assert "the disk is full" in shown and "free some" in shown

    def test_the_summary_says_what_to_try(self) -> None:
        health = {"verdict": "plateaued", "reasons": ["nothing has moved"], "suggestions": ["stop here"]}
        shown = "\n".join(text(progress.summary(Job.parse({**DONE, "health": health}))))
        assert "plateaued: nothing has moved" in shown and "stop here" in shown

    def test_the_summary_of_a_success(self) -> None:
        shown = "\n".join(text(progress.summary(Job.parse(DONE))))
        assert f"enc_{ID}" in shown and "1:00:03" in shown and "91.2 %" in shown and "learning" in shown


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "shown"), [(0, "0:00"), (42.4, "0:42"), (3725, "1:02:05"), (None, "–"), (float("nan"), "–"), (-1, "–")]
    )
    def test_clock(self, seconds: float | None, shown: str) -> None:
        assert words.clock(seconds) == shown

    @pytest.mark.parametrize(("back", "shown"), [(5, "5 s"), (600, "10 min"), (7200, "2 h"), (4 * 86400, "4 d")])
    def test_ago(self, back: float, shown: str) -> None:
        assert words.ago(datetime.now(UTC) - timedelta(seconds=back)) == shown


def test_an_error_shows_places_and_hints_and_takes_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("/encoder/arch", "[bold]resnet[/bold] is unknown"), Problem("", "and more")]
    options.report(Rejected("2 problems", status=422, problems=problems, hint="look it up"))
    shown = capsys.readouterr().err
    assert "/encoder/arch: [bold]resnet[/bold] is unknown" in shown
    assert "Hint: look it up" in shown
