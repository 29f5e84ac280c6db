"""Reads what a trainer appends to events.jsonl, and turns it into what the repository records."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.records import Point, Report

_KEPT = frozenset({"data", "warning", "note", "resumed", "error", "stopped"})  # what goes into the job's events as it is
EVENTS = "events.jsonl"  # of an attempt
_BURST = 1 << 20  # bytes read at once


class Tail:
    """Whole lines only: a torn last line waits for its end, and what is not JSON is passed over."""

    def __init__(self, path: Path, position: int = 0) -> None:
        """position: of the byte to begin at; the rest of a line is passed over."""
        self.path = path
        self._position = position
        self._skipping = False  # within a line longer than a burst; no event is

    def read(self) -> list[dict[str, Any]]:
        """The events since the last call, at most a mebibyte of them."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                chunk = file.read(_BURST)
        except FileNotFoundError:
            return []
        whole, newline, _ = chunk.rpartition(b"\n")
        if not newline and len(chunk) == _BURST:  # waiting for its end would be waiting for ever
            self._position += len(chunk)
            self._skipping = True
            return self.read()
        self._position += len(whole) + len(newline)
        lines = whole.split(b"\n")
        if self._skipping and newline:
            self._skipping = False
            del lines[0]
        events: list[dict[str, Any]] = []
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and _sound(event):
                events.append(event)
        return events


def left_behind(earlier: Iterable[Path]) -> Report | None:
    """The metrics at the ends of event files, the oldest first, that nobody will read any more.

    A worker that is killed has not read all that its trainer wrote; if a checkpoint was written too, no later attempt makes those
    steps again, and the curves would have a hole. What was read already is the same once more.
    """
    points: list[Point] = []
    for path in earlier:
        with contextlib.suppress(OSError):
            points += report(Tail(path, max(0, path.stat().st_size - _BURST)).read()).points
    return Report(points=points) if points else None


_STEPS = {"progress": ("step",), "metrics": ("step", "epoch"), "checkpoint": ("step",)}


def _sound(event: dict[str, Any]) -> bool:
    """Whether an event has what is read of it; another launcher's trainer must not be able to trip the supervisor."""
    kind = event.get("type")
    if not isinstance(kind, str) or not all(type(event.get(name)) is int for name in _STEPS.get(kind, ())):
        return False
    if kind == "metrics":
        values = event.get("values")
        return isinstance(values, dict) and all(value is None or type(value) in (int, float) for value in values.values())
    return kind != "phase" or (isinstance(event.get("phase"), str) and len(event["phase"]) <= 20)


def report(events: Iterable[dict[str, Any]], last_phase: str | None = None) -> Report:
    """What many events come to."""
    progress: dict[str, Any] | None = None
    phase = last_phase
    health: dict[str, Any] | None = None
    checkpoint: int | None = None
    data: dict[str, Any] | None = None
    points: list[Point] = []
    kept: list[tuple[str, dict[str, Any]]] = []
    for event in events:
        kind = event["type"]
        body = {name: value for name, value in event.items() if name not in ("type", "at")}
        if kind == "progress":
            progress = body
        elif kind == "phase":
            if body.get("phase") not in (phase, "evaluating") and not (phase == "evaluating" and body["phase"] == "training"):
                kept.append(("phase", {"phase": body["phase"]}))
            phase = body.get("phase")
            if type(body.get("done")) is int and type(body.get("total")) is int:
                progress = {"images_prepared": body["done"], "images_total": body["total"]}
                progress |= {name: body.get(name) for name in ("images_per_second", "eta_seconds")}
        elif kind == "metrics":
            points += _points(event)
        elif kind == "health":
            health = body
        elif kind == "checkpoint":
            checkpoint = int(body["step"])
        elif kind in _KEPT:
            kept.append((kind, body))
        if kind == "data":
            data = body
    return Report(progress, phase, points, health, kept, checkpoint, data)


def joined(first: Report, second: Report) -> Report:
    """Two reports as one, for when the database did not answer in between."""
    return Report(
        second.progress or first.progress,
        second.phase or first.phase,
        [*first.points, *second.points],
        second.health or first.health,
        [*first.events, *second.events],
        second.checkpoint_step if second.checkpoint_step is not None else first.checkpoint_step,
        second.data or first.data,
    )


def _points(event: dict[str, Any]) -> list[Point]:
    at = _time(event.get("at"))
    step, epoch = int(event["step"]), int(event["epoch"])
    return [Point(str(name)[:60], step, epoch, value, at) for name, value in event["values"].items()]


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.now(UTC)
