"""Following a job on the screen: a live bar on a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from imprint import words
from imprint.errors import ImprintError, JobFailed
from imprint.records import Job

if TYPE_CHECKING:
    from imprint.client import Client

PLAIN_EVERY = 5.0  # seconds between lines when nothing remarkable happens
COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow", "queued": "blue"}


class Display(Protocol):
    """Shows a job as it changes."""

    def show(self, job: Job) -> None: ...

    def close(self) -> None: ...


def display(console: Console) -> Display:
    return LiveDisplay(console) if console.is_terminal and not console.is_dumb_terminal else PlainDisplay(console)


def follow(updates: Iterable[Job], console: Console) -> Job:
    """Show the job until it ends or pauses, and return its last state. Ctrl-C comes through as KeyboardInterrupt."""
    screen = display(console)
    last: Job | None = None
    try:
        for job in updates:
            last = job
            screen.show(job)
            if job.status == "paused":
                break
    finally:
        screen.close()
    assert last is not None  # updates yields at least once, or raises
    return last


def succeed(client: Client, job: Job, console: Console) -> Job:
    """Show the job until it has succeeded. Raises JobFailed, and ImprintError when it is paused."""
    console.print(f"job {job.id}", markup=False)
    job = follow(client.updates(job.id), console)
    if job.status == "paused":
        raise ImprintError(f"job {job.id} is paused", f"go on with: imprint resume {job.id}")
    if job.status != "succeeded":
        raise JobFailed(job)
    return job


class LiveDisplay:
    """Two lines that change in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=5)
        self._live.start()

    def show(self, job: Job) -> None:
        self._live.update(picture(job))

    def close(self) -> None:
        self._live.stop()


def picture(job: Job) -> RenderableType:
    """A bar with the stage, the share done and the epoch; below it the numbers, and what is wrong, if something is."""
    stage = words.stage(job)
    style = COLOURS.get(stage, "cyan")
    fraction = 1.0 if job.status == "succeeded" else job.progress.fraction
    if stage == "preparing" and job.progress.images_total:
        fraction = (job.progress.images_prepared or 0) / job.progress.images_total
    # Without a known length the bar pulses, to show that something is going on.
    bar = ProgressBar(
        total=1.0,
        completed=fraction or 0.0,
        pulse=fraction is None and not job.final,
        complete_style=style,
        finished_style=style,
        pulse_style=style,
    )
    line = Table.grid(padding=(0, 1, 0, 0), expand=True)
    line.add_column(width=10, no_wrap=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    share = "" if fraction is None else f"{100 * fraction:3.0f} %"
    line.add_row(Text(stage, style=f"bold {style}"), bar, share, words.epoch(job) or "")
    numbers = "   ".join(words.facts(job)) or waiting(job)
    below = [Text(" " * 11 + numbers, style="dim" if not job.metrics else "", no_wrap=True, overflow="ellipsis")]
    if alarm := words.alarm(job):
        below.append(Text(" " * 11 + alarm, style="red", no_wrap=True, overflow="ellipsis"))
    return Group(line, *below)


def waiting(job: Job) -> str:
    if job.status == "queued":
        return f"waiting for a worker for {words.ago(job.created_at)}"
    return "" if job.final else "getting ready"


class PlainDisplay:
    """One line when the stage or an evaluation changes, and every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()
        self._shown_at = float("-inf")
        self._shown: tuple[object, ...] = ()
        self._alarm: str | None = None

    def show(self, job: Job) -> None:
        now = time.monotonic()
        remarkable = (words.stage(job), job.metrics.get("knn_top1"), job.health.get("verdict"))
        if remarkable == self._shown and now - self._shown_at < PLAIN_EVERY:
            return
        self._shown, self._shown_at = remarkable, now
        line = f"{words.stage(job):10} " + "  ".join([*filter(None, [words.epoch(job)]), *words.facts(job, "img/s")])
        self._console.print(f"{words.clock(now - self._start):>5} {line}".rstrip(), soft_wrap=True, markup=False)
        alarm = words.alarm(job)
        if alarm and alarm != self._alarm:
            self._console.print(f"      {alarm}; try: {words.suggestions(job)}", soft_wrap=True, markup=False)
        self._alarm = alarm

    def close(self) -> None:
        pass


def summary(job: Job) -> Table:
    """What came out, once a job has ended."""
    table = Table.grid(padding=(0, 2, 0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    style = COLOURS.get(job.status, "")
    table.add_row("job", job.id)
    table.add_row("status", Text(job.status, style=f"bold {style}".strip()))
    if job.error:
        table.add_row("error", Text(job.error.message, style="red"))
        if job.error.hint:
            table.add_row("", job.error.hint)
    if job.encoder:
        table.add_row("encoder", Text(job.encoder, style="bold"))
    if (seconds := words.duration(job)) is not None:
        table.add_row("took", words.clock(seconds))
    data = job.raw.get("data") or {}
    if data.get("unreadable"):
        examples = ", ".join(str(path) for path, _ in data.get("unreadable_examples", [])[:3])
        table.add_row("unreadable", f"{data['unreadable']} of the files, left out: {examples} …")
    metrics = job.metrics
    if "knn_top1" in metrics:
        table.add_row("kNN accuracy", f"{words.percent(metrics['knn_top1'])} on held-out images")
    if "linear_top1" in metrics:
        table.add_row("linear probe", f"{words.percent(metrics['linear_top1'])} on held-out images")
    if "train_loss" in metrics:
        table.add_row("training loss", words.number(metrics["train_loss"]))
    if "effective_rank" in metrics:
        table.add_row("effective rank", f"{words.number(metrics['effective_rank'])} dimensions in use")
    if speed := metrics.get("images_per_second"):
        table.add_row("speed", f"{speed:.0f} images/s" + (f": {shares}" if (shares := words.step_shares(job)) else ""))
    for name, text in words.measured(job):
        table.add_row(name, text)
    if verdict := job.health.get("verdict"):
        reasons = "; ".join(str(reason) for reason in job.health.get("reasons") or [])
        table.add_row("health", f"{verdict}: {reasons}" if reasons else str(verdict))
        if advice := words.suggestions(job):
            table.add_row("try", advice)
    return table
