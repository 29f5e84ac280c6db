"""Draws a table of pictures as a PNG: title, settings, headings, rows. Knows no torch, and nothing of training."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

BACKGROUND, INK, SOFT, EDGE = (250, 250, 248), (32, 33, 36), (104, 108, 116), (214, 214, 210)
MARGIN, GAP, BETWEEN_GROUPS, ROW_GAP = 24, 8, 26, 14
NARROWEST = 48  # px: a column has room for its heading
UNTIL, LARGEST = 128, 256  # px: views up to half of UNTIL are scaled up, those above LARGEST down
LONGEST = 2000  # px: text is not set wider


@dataclass(frozen=True)
class Group:
    """Columns that belong together, under one heading."""

    heading: str
    names: list[str]


@dataclass(frozen=True)
class Row:
    """Pictures, one for each column, at the size at which they are shown (`scaled`), and what is written under them."""

    cells: list[Image.Image]
    label: str


def draw(title: str, lines: Sequence[str], groups: Sequence[Group], rows: Sequence[Row], size: int, footer: str = "") -> bytes:
    """A PNG of the rows. `size` is the side of an ordinary view in pixels, of which the scale is told."""
    columns = [[row.cells[at] for row in rows] for at in range(len(rows[0].cells))]
    widths = [max(NARROWEST, *(cell.width for cell in column)) for column in columns]
    starts = _starts(groups, widths)
    wide = starts[-1] + widths[-1] + MARGIN
    text_wide = min(wide - 2 * MARGIN, LONGEST)
    above = [(piece, 17, INK) for piece in wrapped(title, 17, text_wide)]
    above += [(piece, 13, SOFT) for line in [*lines, _scale_in_words(size)] for piece in wrapped(line, 13, text_wide)]
    below = [(piece, 13, SOFT) for piece in wrapped(footer, 13, text_wide)]
    heights = [max(column[at].height for column in columns) + 5 + _line(12) + ROW_GAP for at in range(len(rows))]
    top = MARGIN + sum(_line(points) for _, points, _ in above) + 14
    first_row = top + _line(15) + _line(12) + 4
    high = first_row + sum(heights) + sum(_line(points) for _, points, _ in below) + MARGIN - ROW_GAP

    sheet = Image.new("RGB", (wide, high), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    _write_lines(pen, MARGIN, above)
    column = 0
    for group in groups:
        pen.text((starts[column], top), shown(group.heading), INK, _font(15))
        for name in group.names:
            fitted = shortened(name, 12, widths[column])
            pen.text((starts[column], top + _line(15)), fitted, SOFT, _font(12))
            column += 1
    y = first_row
    for at, row in enumerate(rows):
        for x, pictures in zip(starts, columns, strict=True):
            cell = pictures[at]
            sheet.paste(cell, (x, y))
            pen.rectangle((x - 1, y - 1, x + cell.width, y + cell.height), outline=EDGE)
        label = shortened(row.label, 12, text_wide)
        pen.text((MARGIN, y + heights[at] - ROW_GAP - _line(12) + 1), label, SOFT, _font(12))
        y += heights[at]
    _write_lines(pen, y, below)
    file = io.BytesIO()
    sheet.save(file, "PNG", compress_level=4)  # half the time of 6, and 2 % more bytes
    return file.getvalue()


def scaled(cell: NDArray[Any], size: int) -> Image.Image:
    """A picture, uint8 (H, W, 3), at the one scale of a sheet whose ordinary views have `size` pixels a side.

    Scaling up is by whole factors and repeats pixels, so that every one can be seen; views of up to LARGEST pixels are
    shown as they are.
    """
    picture = Image.fromarray(cell)
    if (times := UNTIL // size) > 1:
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    if size > LARGEST:
        sides = [max(1, round(side * LARGEST / size)) for side in picture.size]
        return picture.resize((sides[0], sides[1]), Image.Resampling.BOX)
    return picture


def shown(text: str) -> str:
    """The text in the letters that Pillow's own font has: accents are dropped, what is left over becomes a question mark."""
    plain = (char if char in "·…°±" else unicodedata.normalize("NFKD", char) for char in text)
    kept = (char for char in "".join(plain) if not unicodedata.combining(char))
    return "".join(char if " " <= char <= "~" or char in "·…°±" else "?" for char in kept)


def shortened(text: str, points: int, wide: int) -> str:
    """The text, with its middle left out if it is wider than `wide` pixels."""
    text = shown(text)
    text = text if len(text) <= 400 else text[:200] + text[-200:]
    if _font(points).getlength(text) <= wide:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}"
        if _font(points).getlength(short) <= wide:
            return short
    return "…"


def wrapped(text: str, points: int, wide: int) -> list[str]:
    """Lines of at most `wide` pixels, broken at spaces that are not no-break; what is longer on its own is shortened."""
    lines: list[str] = []
    for word in filter(None, text.split(" ")):
        longer = f"{lines[-1]} {shown(word)}" if lines else ""
        if lines and _font(points).getlength(longer) <= wide:
            lines[-1] = longer
        else:
            lines.append(shortened(word, points, wide))
    return lines


def _scale_in_words(size: int) -> str:
    if UNTIL // size > 1:
        return f"shown {UNTIL // size} times as large as they are"
    return f"shown at {100 * LARGEST / size:.0f} % of their size" if size > LARGEST else ""


def _starts(groups: Sequence[Group], widths: Sequence[int]) -> list[int]:
    """Where each column begins, in pixels from the left."""
    starts, x, column = [], MARGIN, 0
    for group in groups:
        for _ in group.names:
            starts.append(x)
            x += widths[column] + GAP
            column += 1
        x += BETWEEN_GROUPS - GAP
    return starts


def _write_lines(pen: ImageDraw.ImageDraw, y: int, lines: Sequence[tuple[str, int, tuple[int, int, int]]]) -> None:
    for text, points, colour in lines:
        pen.text((MARGIN, y), text, colour, _font(points))
        y += _line(points)


def _line(points: int) -> int:
    """The height of a line of text."""
    return round(points * 1.45)


@lru_cache(maxsize=4)
def _font(points: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that a sheet looks the same everywhere."""
    font = ImageFont.load_default(points)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
