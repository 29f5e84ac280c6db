"""Pages of documentation taken apart: their blocks, what is to be run, and whether what is printed looks like what is shown.

A block of `sh` or `python` is run unless a comment right above it says why not:

    <!-- not run: tests/docker/test_compose_runs.py -->    that test runs it, or what it stands for
    <!-- not run: installs -->                             it makes the very environment that the tests run in
    <!-- service -->                                       the service is started with it, before the page

A block of `text` right after one that is run shows what it prints.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")
SHOWN = ("text", "json", "ini", "yaml", "py")
"""Languages of blocks that are only looked at."""
_FENCE = re.compile(r"^```(\S*)\s*$")
_COMMENT = re.compile(r"^<!-- (service|not run: (.+?)) -->$")
# Words that depend on what was learned: any of a group looks like any other.
_ALIKE = (
    ("chafer", "ladybird", "potato", "stag"),
    ("warming_up", "healthy", "plateaued", "collapsing", "collapsed", "diverged"),
)
_PICTURE = rf"(?:{'|'.join(_ALIKE[0])})/[\w() ]+\.jpg"
_TOKENS = re.compile(
    rf"(?P<picture>{_PICTURE})|(?P<id>\b(?:job|enc|ds|imp|wh)_[0-9A-Za-z]*…?)|(?P<dots>…)|(?P<border>[━─┏┳┓┡╇┩└┴┘]+)|(?P<space>\s+)"
    r"|(?P<number>\d[\d.,:]*)|(?P<word>[^\W\d]\w*)|."
)
_FORMS = {
    "picture": _PICTURE,
    "id": r"(?:job|enc|ds|imp|wh)_[0-9A-Za-z…]+",
    "dots": ".*",
    "border": "[━─┏┳┓┡╇┩└┴┘]+",
    "space": r"\s+",
    "number": r"\d[\d.,:]*",
}
_PROGRESS = re.compile(r"^\s*\d+:\d\d [a-z]+\b|^      \w.*; try: ")  # and alarms


@dataclass(frozen=True)
class Block:
    """line: of its fence, from 1. excuse: why it is not run, or None. shows: what it should print, or None for whatever."""

    language: str
    text: str
    line: int
    service: bool = False
    excuse: str | None = None
    shows: str | None = None


def blocks(page: Path) -> list[Block]:
    """All of a page's, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    comment: re.Match[str] | None = None
    after: Block | None = None  # what was run last, with nothing but empty lines since
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            if lines[at].strip():
                comment, after = _COMMENT.match(lines[at]), None
            at += 1
            continue
        end = lines.index("```", at + 1)
        text = "\n".join(lines[at + 1 : end])
        if fence[1] == "text" and after is not None:
            found[-1] = Block(after.language, after.text, after.line, after.service, after.excuse, text)
        else:
            service, excuse = bool(comment and comment[1] == "service"), comment[2] if comment else None
            found.append(Block(fence[1], text, at + 1, service, excuse))
        after = found[-1] if found[-1].language in RUN and fence[1] != "text" else None
        comment, at = None, end + 1
    return found


def difference(shown: str, printed: str) -> str | None:
    """What of the shown output was not printed in this form, or what was printed beside it; None if they look alike.

    Numbers, ids, which picture, and the words of _ALIKE may differ; `…` in a line stands for anything, `…` alone for any lines,
    and lines of progress for any such lines.
    """
    left = [line.rstrip() for line in printed.splitlines() if line.strip()]
    skipping = False
    for line in [each.rstrip() for each in shown.splitlines() if each.strip()]:
        if line.strip() == "…":
            skipping = True
            continue
        if _PROGRESS.match(line):
            while left and skipping and any(map(_PROGRESS.match, left)) and not _PROGRESS.match(left[0]):
                left.pop(0)
            while left and _PROGRESS.match(left[0]):
                left.pop(0)
            skipping = False
            continue
        form = _form(line)
        while left and skipping and not form.fullmatch(left[0]):
            left.pop(0)
        if not left or not form.fullmatch(left[0]):
            return f"shown:   {line}\nprinted: {left[0] if left else '(nothing more)'}"
        left.pop(0)
        skipping = False
    return None if skipping or not left else f"printed and not shown: {left[0]}"


def _form(line: str) -> re.Pattern[str]:
    """What looks like a line."""
    parts = []
    for token in _TOKENS.finditer(line.strip()):
        kind, text = token.lastgroup or "", token[0]
        alike = next((words for words in _ALIKE if text in words), ())
        parts.append("|".join(alike).join(("(?:", ")")) if alike else _FORMS.get(kind, re.escape(text)))
    return re.compile(rf"\s*{''.join(parts)}\s*")
