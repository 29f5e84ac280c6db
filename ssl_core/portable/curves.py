"""What was measured while an encoder learned, as a small SVG with one panel for each metric. Text in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Curve = Sequence[tuple[float, float]]  # (step, value), steps rising

SHOWN = {"train_loss": "training loss", "knn_top1": "kNN, %", "linear_top1": "linear, %", "effective_rank": "effective rank"}
_WIDE, _HIGH, _TOP, _GAP = 180, 70, 18, 24  # px: of a panel's plot, the room for its title, between panels
_MOST = 120  # points in a curve; more would not be seen
_LINE, _TEXT = "#3b7dd8", "#808080"  # read on white and on black


def svg(curves: Mapping[str, Curve]) -> str | None:
    """The panels of SHOWN that have two points at least, from left to right; None where there is none."""
    panels = [(title, _thinned(curves[name])) for name, title in SHOWN.items() if len(curves.get(name, ())) > 1]
    if not panels:
        return None
    wide = len(panels) * (_WIDE + _GAP) - _GAP + 8
    high = _TOP + _HIGH + 16
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img"'
    label = escape("Curves: " + ", ".join(title for title, _ in panels), quote=True)
    style = f'font-family="sans-serif" font-size="10" fill="{_TEXT}"'
    drawn = "".join(_panel(title, curve, 4 + at * (_WIDE + _GAP)) for at, (title, curve) in enumerate(panels))
    return f'{head} aria-label="{label}"><g {style}>{drawn}</g></svg>\n'


def _panel(title: str, curve: Curve, left: float) -> str:
    steps, values = [step for step, _ in curve], [value for _, value in curve]
    low, high, first, last = min(values), max(values), steps[0], steps[-1]
    across, up = (last - first) or 1, (high - low) or 1
    points = " ".join(
        f"{left + _WIDE * (step - first) / across:.1f},{_TOP + _HIGH * (1 - (value - low) / up):.1f}" for step, value in curve
    )
    bottom = _TOP + _HIGH
    return (
        f'<text x="{left}" y="11">{escape(title)}: {values[-1]:.4g} at the end</text>'
        f'<path d="M{left} {bottom}h{_WIDE}M{left} {_TOP}h{_WIDE}" stroke="{_TEXT}" stroke-opacity=".3"/>'
        f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>'
        f'<text x="{left}" y="{bottom + 12}">step {first:g}</text>'
        f'<text x="{left + _WIDE}" y="{bottom + 12}" text-anchor="end">{last:g} ({low:.4g} to {high:.4g})</text>'
    )


def _thinned(curve: Curve) -> Curve:
    """At most _MOST points, the first and the last among them."""
    count = min(len(curve), _MOST)
    return [curve[round(at * (len(curve) - 1) / (count - 1))] for at in range(count)]
