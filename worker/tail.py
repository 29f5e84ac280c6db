"""Reads what a trainer appends to events.jsonl, and turns it into what the repository records."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.records import Point, Report

_KEPT = frozenset({"data", "warning", "resumed", "error", "stopped"})  # what goes into the job's events as it is
_BURST = 1 << 20  # bytes read at once


class Tail:
    """Whole lines only: a torn last line waits for its end, and what is not JSON is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0

    def read(self) -> list[dict[str, Any]]:
        """The events since the last call, at most a mebibyte of them."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                chunk = file.read(_BURST)
        except FileNotFoundError:
            return []
        whole, newline, _ = chunk.rpartition(b"\n")
        self._position += len(whole) + len(newline)
        events = []
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and isinstance(event.get("type"), str):
                events.append(event)
        return events


def report(events: Iterable[dict[str, Any]], last_phase: str | None = None) -> Report:
    """What many events come to."""
    progress: dict[str, Any] | None = None
    phase = last_phase
    health: dict[str, Any] | None = None
    checkpoint: int | None = None
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
        elif kind == "metrics":
            points += _points(event)
        elif kind == "health":
            health = body
        elif kind == "checkpoint":
            checkpoint = int(body["step"])
        elif kind in _KEPT:
            kept.append((kind, body))
    return Report(progress, phase, points, health, kept, checkpoint)


def _points(event: dict[str, Any]) -> list[Point]:
    at = _time(event.get("at"))
    step, epoch = int(event["step"]), int(event["epoch"])
    return [Point(str(name)[:60], step, epoch, value, at) for name, value in event["values"].items()]


def _time(text: Any) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.now(UTC)
