"""`--set method.queue_size=4096`: dotted paths into a job's body."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from imprint.errors import UsageError


def parse(text: str) -> tuple[list[str], Any]:
    """('a.b=1') -> (['a', 'b'], 1). A value that is JSON is taken as such, anything else as text; '"1"' is the text 1."""
    path, equals, value = text.partition("=")
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise UsageError(f"--set {text!r} is not of the form section.field=value", "for example: --set method.queue_size=4096")
    try:
        return parts, json.loads(value)
    except (ValueError, RecursionError):  # the latter: thousands of brackets
        return parts, value


def put(body: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """Set one field of a nested body in place, making the sections on the way."""
    *sections, last = path
    here = body
    for depth, section in enumerate(sections):
        below = here.setdefault(section, {})
        if not isinstance(below, dict):
            raise UsageError(
                f"--set {'.'.join([*sections, last])}: {'.'.join(sections[: depth + 1])} is {below!r}, not a section"
            )
        here = below
    here[last] = value


def apply(body: dict[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of `body` with every assignment made, the later ones on top."""
    changed: dict[str, Any] = json.loads(json.dumps(body))
    for assignment in assignments:
        put(changed, *parse(assignment))
    return changed
