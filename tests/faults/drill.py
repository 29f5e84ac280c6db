"""What a drill is: a fault, a promise, a place to try it in, and one trial of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Place = Callable[[Path], AbstractContextManager[Any]]


class Impossible(Exception):
    """This machine cannot do that to itself (no PostgreSQL, no right to mount): the reason to skip with."""


@dataclass(frozen=True)
class Drill:
    """One fault. A trial raises AssertionError when the promise was not kept."""

    name: str
    fault: str
    """What is done, as the table says it."""
    promise: str
    """What must hold all the same."""
    place: Place
    """place(folder): processes and files for any number of trials, one after the other. Raises Impossible."""
    trial: Callable[[Any, random.Random, int], None]
    """trial(place, dice, number): everything that is random comes from the dice; the number walks through variants."""
    quick: int = 1
    """How many trials a run of all tests makes."""


@dataclass
class Outcome:
    """What came of a drill's trials."""

    drill: Drill
    trials: int = 0
    failures: int = 0
    seconds: float = 0.0
    first: str = ""
    """Of the failures."""
    skipped: str = ""
    interrupted: bool = False
    """By Ctrl-C, within a trial that does not count."""

    def bound(self) -> str:
        """With 95 % confidence the fault does harm less often than this: 3/n where no trial failed (the rule of three)."""
        if self.trials == 0:
            return ""
        return f"{100 * min(1.0, 3 / self.trials):.3g} %" if self.failures == 0 else "—"


def table(outcomes: list[Outcome]) -> str:
    """Markdown."""
    lines = ["| fault | promise | trials | failures | 3/n | s a trial |", "|---|---|---|---|---|---|"]
    for each in outcomes:
        what = f"| {each.drill.fault} | {each.drill.promise} "
        if each.skipped:
            lines.append(f"{what}| not here: {each.skipped} | | | |")
        else:
            spent = each.seconds / max(1, each.trials)
            lines.append(f"{what}| {each.trials} | {each.failures} | {each.bound()} | {spent:.1f} |")
    return "\n".join(lines)
