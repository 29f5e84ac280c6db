"""The drawing of a job's states, as SVG: every arrow of the table in jobs/status.py, and none that is not in it."""

from __future__ import annotations

import math

PLACES = {  # middle of each box
    "queued": (120, 190),
    "running": (420, 190),
    "failed": (720, 90),
    "succeeded": (720, 190),
    "cancelled": (720, 290),
    "paused": (420, 330),
}
HALF = (62, 22)
GREEN, RED, BLUE, GREY = "#1a7f4b", "#b3261e", "#1f5fa8", "#5f6368"
COLOURS = {"queued": BLUE, "running": BLUE, "succeeded": GREEN, "failed": RED, "cancelled": GREY, "paused": GREY}
# From, to: the letter of docs/architecture.md, and the curve's two handles; a straight line where there is None.
ARROWS: dict[tuple[str, str], tuple[str, tuple[tuple[int, int], tuple[int, int]] | None]] = {
    ("queued", "running"): ("a", ((220, 165), (320, 165))),
    ("running", "succeeded"): ("b", None),
    ("running", "failed"): ("c", None),
    ("running", "cancelled"): ("c", None),
    ("running", "queued"): ("d", ((320, 215), (220, 215))),
    ("running", "paused"): ("e", None),
    ("queued", "cancelled"): ("f", ((120, 470), (650, 470))),
    ("paused", "cancelled"): ("f", None),
    ("paused", "queued"): ("g", None),
    ("failed", "queued"): ("g", ((600, 10), (120, 10))),
    ("cancelled", "queued"): ("g", ((780, 520), (60, 520))),
}


def svg() -> str:
    """The whole drawing. Raises AssertionError when it is not the table."""
    from jobs.status import TRANSITIONS

    allowed = {(now.value, then.value) for now, follows in TRANSITIONS.items() for then in follows}
    assert set(ARROWS) == allowed, f"docs/generators/states.py and jobs/status.py differ in {set(ARROWS) ^ allowed}"
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 480" font-family="system-ui, sans-serif" font-size="16">',
        "<title>The states of a job</title>",
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#5f6368"/></marker></defs>',
        '<rect width="840" height="480" rx="8" fill="#fff"/>',
        '<circle cx="24" cy="190" r="7" fill="#202124"/><path d="M31 190H56" stroke="#5f6368" marker-end="url(#tip)"/>',
    ]
    parts += [_arrow(now, then) for now, then in ARROWS]
    parts += [_box(name) for name in PLACES]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(name: str) -> str:
    (x, y), (wide, high), colour = PLACES[name], HALF, COLOURS[name]
    return (
        f'<rect x="{x - wide}" y="{y - high}" width="{2 * wide}" height="{2 * high}" rx="10" fill="{colour}"/>'
        f'<text x="{x}" y="{y + 5}" text-anchor="middle" fill="#fff">{name}</text>'
    )


def _arrow(now: str, then: str) -> str:
    letter, handles = ARROWS[now, then]
    if handles is None:
        handles = (PLACES[then], PLACES[now])
    start, end = _edge(now, handles[0]), _edge(then, handles[1])
    if ARROWS[now, then][1] is None:
        path = f"M{start[0]} {start[1]}L{end[0]} {end[1]}"
        at = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    else:
        (ax, ay), (bx, by) = handles
        path = f"M{start[0]} {start[1]}C{ax} {ay} {bx} {by} {end[0]} {end[1]}"
        at = ((start[0] + 3 * ax + 3 * bx + end[0]) / 8, (start[1] + 3 * ay + 3 * by + end[1]) / 8)
    return (
        f'<path data-from="{now}" data-to="{then}" d="{path}" fill="none" stroke="#5f6368" stroke-width="1.6" '
        f'marker-end="url(#tip)"/><circle cx="{at[0]:g}" cy="{at[1]:g}" r="11" fill="#fff"/>'
        f'<text x="{at[0]:g}" y="{at[1] + 5:g}" text-anchor="middle" fill="#202124" font-style="italic">{letter}</text>'
    )


def _edge(name: str, towards: tuple[int, int]) -> tuple[int, int]:
    """Where a line from the middle of a box to a point leaves the box."""
    (x, y), (wide, high) = PLACES[name], HALF
    dx, dy = towards[0] - x, towards[1] - y
    scale = min(wide / abs(dx) if dx else math.inf, high / abs(dy) if dy else math.inf)
    return round(x + dx * scale), round(y + dy * scale)
