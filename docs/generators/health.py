"""The drawing of job health, as SVG: four recorded runs, what is looked at, the thresholds, and where the verdict changes.

The curves are docs/health.json, recorded by docs/measure_health.py. Thresholds and verdicts are those of
ssl_core/health/verdict.py now: each run is judged again, report by report, by the very `Watch` that judges jobs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "health.json"
COLOURS = {
    "warming_up": "#5f6368",
    "healthy": "#1a7f4b",
    "plateaued": "#1f5fa8",
    "collapsing": "#a85b00",
    "collapsed": "#b3261e",
    "diverged": "#6a1b9a",
}
TITLES = {
    "healthy": "SimCLR",
    "plateaued": "SimCLR, temperature 10",
    "collapsing": "BYOL, no predictor, slowly",
    "collapsed": "BYOL, no predictor",
}
WIDE, GAP, LEFT = 196, 20, 118  # of a run; between two; before the first
SPREAD, RANK, LOSS = (84, 130), (232, 90), (340, 70)  # top and height of the three rows
HIGH = 492
LOWEST, HIGHEST = 0.003, 2.0  # std × √d, on a logarithmic scale
MOST = 240.0  # effective rank
LEAST_LOSS, MOST_LOSS = 0.6, 1.1  # of ln K
LINE, FAINT, INK = "#00796b", "#dadce0", "#202124"
Points = Sequence[tuple[int, float]]
Height = Callable[[float], float]


@dataclass
class Judged:
    """A run as it was judged: (step, value) of both measures, the least that each may have, and (step, verdict) of changes."""

    steps: int
    spread: list[tuple[int, float]] = field(default_factory=list)
    spread_least: list[tuple[int, float]] = field(default_factory=list)
    loss: list[tuple[int, float]] = field(default_factory=list)  # as a share of ln K, of cross-entropies
    rank: list[tuple[int, float]] = field(default_factory=list)
    rank_least: list[tuple[int, float]] = field(default_factory=list)
    verdicts: list[tuple[int, str]] = field(default_factory=list)


def judged(run: dict[str, Any]) -> Judged:
    """What was said, judged again."""
    from ssl_core.health.verdict import PULSE_SHRUNK, SHRUNK
    from ssl_core.health.watch import Watch

    watch, found = Watch(run["warmup_steps"]), Judged(max(step for step, *_ in run["said"]))
    highest = widest = 0.0
    for step, kind, values in run["said"]:
        if kind == "pulse":
            watch.pulse(step, values)
            widest = max(widest, values["batch_std"])
            found.spread.append((step, values["batch_std"]))
            found.spread_least.append((step, PULSE_SHRUNK * widest))
            if chance := values.get("loss_at_chance"):
                found.loss.append((step, values["train_loss"] / chance))
        else:
            watch.evaluated(step, values)
            highest = max(highest, values["effective_rank"])
            found.rank.append((step, values["effective_rank"]))
            found.rank_least.append((step, SHRUNK * highest))
        if not found.verdicts or found.verdicts[-1][1] != watch.health.verdict:
            found.verdicts.append((step, watch.health.verdict))
    return found


def svg() -> str:
    """The whole drawing. Raises AssertionError when a run does not end with the verdict that it stands for."""
    from ssl_core.health.verdict import AT_CHANCE, COLLAPSED_RANK, PULSE_STD

    runs = {name: judged(run) for name, run in json.loads(FILE.read_text(encoding="utf-8")).items()}
    for name, run in runs.items():
        said = {verdict for _, verdict in run.verdicts}
        assert name in said, f"docs/health.json: the run {name!r} is judged {said}; record it anew by docs/measure_health.py"
    width = LEFT + len(runs) * (WIDE + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HIGH}" font-family="system-ui, sans-serif">',
        "<title>Four runs: healthy, plateaued, collapsing, collapsed</title>",
        f'<rect width="{width}" height="{HIGH}" rx="8" fill="#fff"/>',
        *_words(LEFT - 8, SPREAD[0] + 10, ("spread of a", "batch, std × √d"), anchor="end"),
        *_words(LEFT - 8, RANK[0] + 10, ("effective rank,", "held out"), anchor="end"),
        *_words(LEFT - 8, LOSS[0] + 10, ("loss as a share", "of ln K"), anchor="end"),
    ]
    for at, (name, run) in enumerate(runs.items()):
        left = LEFT + at * (WIDE + GAP)
        parts += [
            f'<text x="{left}" y="26" font-size="13" font-weight="600" fill="{INK}">{TITLES[name]}</text>',
            *_band(left, run),
        ]
        for row, height, points, least, floor in (
            (SPREAD, _spread, run.spread, run.spread_least, PULSE_STD),
            (RANK, _rank, run.rank, run.rank_least, COLLAPSED_RANK),
        ):
            parts += _panel(left, row, run.steps, points, height)
            parts += [_line(left, height(floor), COLOURS["collapsed"])]
            parts += [_path(left, run.steps, least, height, f'{COLOURS["collapsing"]}" stroke-dasharray="5 3')]
        if run.loss:
            parts += _panel(left, LOSS, run.steps, run.loss, _loss)
            parts += [_line(left, _loss(1 + sign * AT_CHANCE), COLOURS["plateaued"]) for sign in (-1, 1)]
        else:
            parts += _words(left + WIDE / 2, LOSS[0] + 38, ("no cross-entropy",), anchor="middle")
        parts += _words(left + WIDE, LOSS[0] + LOSS[1] + 16, (f"step {run.steps}",), anchor="end")
    parts += _key(PULSE_STD, COLLAPSED_RANK, AT_CHANCE)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _spread(value: float) -> float:
    share = math.log(max(value, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
    return SPREAD[0] + SPREAD[1] * (1 - min(share, 1.0))


def _rank(value: float) -> float:
    return RANK[0] + RANK[1] * (1 - min(value / MOST, 1.0))


def _loss(value: float) -> float:
    return LOSS[0] + LOSS[1] * (1 - min(max((value - LEAST_LOSS) / (MOST_LOSS - LEAST_LOSS), 0.0), 1.0))


def _band(left: float, run: Judged) -> list[str]:
    """The verdicts in time, as coloured pieces, and their names below."""
    parts, ends = [], [*(step for step, _ in run.verdicts[1:]), run.steps]
    for (begin, verdict), end in zip(run.verdicts, ends, strict=True):
        x, wide = left + WIDE * begin / run.steps, WIDE * (end - begin) / run.steps
        parts.append(f'<rect x="{x:.1f}" y="38" width="{max(wide, 1):.1f}" height="14" fill="{COLOURS[verdict]}"/>')
    x = float(left)
    for name in dict.fromkeys(verdict for _, verdict in run.verdicts if verdict != "warming_up"):
        parts.append(f'<text x="{x:.0f}" y="69" font-size="12" fill="{COLOURS[name]}">{name}</text>')
        x += 6.6 * len(name) + 9
    return parts


def _panel(left: float, row: tuple[int, int], steps: int, points: Points, height: Height) -> list[str]:
    """A frame and its curve over steps."""
    frame = f'<rect x="{left}" y="{row[0]}" width="{WIDE}" height="{row[1]}" fill="none" stroke="{FAINT}"/>'
    return [frame, _path(left, steps, points, height, f'{LINE}" stroke-width="2')]


def _path(left: float, steps: int, points: Points, height: Height, stroke: str) -> str:
    places = "L".join(f"{left + WIDE * step / steps:.1f} {height(value):.1f}" for step, value in points)
    return f'<path d="M{places}" fill="none" stroke="{stroke}"/>'


def _line(left: float, y: float, colour: str) -> str:
    """A threshold that stands still."""
    return f'<path d="M{left} {y:.1f}h{WIDE}" stroke="{colour}"/>'


def _key(std: float, rank: float, chance: float) -> list[str]:
    parts = []
    for x, y, stroke, words in (
        (0, 40, f'{LINE}" stroke-width="2', "measured"),
        (440, 40, COLOURS["collapsed"], f"below: collapsed (spread {std:g}, rank {rank:g})"),
        (
            0,
            18,
            f'{COLOURS["collapsing"]}" stroke-dasharray="5 3',
            "below: collapsing (1/5 of the best spread, 1/2 of the best rank)",
        ),
        (440, 18, COLOURS["plateaued"], f"between: the loss stays at chance (1 ± {chance:g})"),
    ):
        line = f'<path d="M{LEFT + x} {HIGH - y - 4}h26" stroke="{stroke}"/>'
        parts += [line, *_words(LEFT + x + 32, HIGH - y, (words,))]
    return parts


def _words(x: float, y: float, lines: Sequence[str], anchor: str = "start") -> list[str]:
    return [
        f'<text x="{x:.0f}" y="{y + 16 * at:.0f}" text-anchor="{anchor}" font-size="12" fill="{INK}">{line}</text>'
        for at, line in enumerate(lines)
    ]
