"""Draw a folder of beetles to try things on: four kinds in class folders, one beetle saved twice, and one empty scan.

python examples/draw_beetles.py ~/Pictures/beetles
"""

from __future__ import annotations

import argparse
import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

KINDS = ("chafer", "ladybird", "potato", "stag")
SHARP = 4  # drawn so many times larger, then scaled down, so that edges are smooth
Colour = tuple[int, int, int]


def main() -> None:
    """Write the folder. The same seed draws the same beetles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=60, help="pictures of each kind (60)")
    parser.add_argument("--side", type=int, default=64, help="of the square pictures, in pixels (64)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    random = np.random.default_rng(given.seed)
    for kind in KINDS:
        folder = given.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(given.each):
            beetle(kind, random, given.side).save(folder / f"{number:03}.jpg", quality=90)
    # What every grown collection has: a picture that somebody saved again, a little smaller, and a scan of nothing.
    first = Image.open(given.folder / "ladybird" / "000.jpg")
    smaller = first.resize((given.side * 9 // 10,) * 2, Image.Resampling.LANCZOS)
    smaller.save(given.folder / "ladybird" / "000 (copy).jpg", quality=70)
    Image.new("RGB", (given.side, given.side), (128, 128, 128)).save(given.folder / "stag" / "blank.jpg")
    print(f"{len(KINDS) * given.each + 2} pictures in {given.folder}: {', '.join(KINDS)}")


def beetle(kind: str, random: np.random.Generator, side: int) -> Image.Image:
    """One beetle on paper, turned and placed by chance. uint8 RGB, side × side."""
    size = side * SHARP
    paper = Image.new("RGB", (size, size), colour(random.uniform(0.08, 0.14), random.uniform(0.05, 0.2), random.uniform(0.75, 1)))
    layer = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(layer)
    middle, long = size / 2, size * random.uniform(0.27, 0.36)
    DRAWN[kind](draw, middle, long, random)
    layer = layer.rotate(random.uniform(0, 360), Image.Resampling.BICUBIC)
    where = tuple(int(shift) for shift in random.uniform(-0.08, 0.08, 2) * size)
    paper.paste(layer, where, layer)
    small = paper.resize((side, side), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(random.uniform(0, 0.6)))
    grain = random.normal(0, 4, (side, side, 1))
    return Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))


def colour(hue: float, saturation: float, value: float) -> Colour:
    """Each in [0, 1], as 0 to 255 of red, green and blue."""
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))
    return red, green, blue


def oval(draw: ImageDraw.ImageDraw, x: float, y: float, wide: float, high: float, fill: Colour) -> None:
    """Around (x, y), with these half axes."""
    draw.ellipse((x - wide, y - high, x + wide, y + high), fill=fill)


def legs(draw: ImageDraw.ImageDraw, middle: float, long: float, wide: float) -> None:
    """Three pairs."""
    for side in (-1, 1):
        for height, reach in ((-0.35, -0.25), (0.05, 0.05), (0.45, 0.4)):
            start, knee = (middle, middle + height * long), (middle + side * wide * 1.5, middle + (height + reach) * long)
            draw.line((start, knee), fill=(30, 22, 18), width=max(int(long / 14), 1))


def ladybird(draw: ImageDraw.ImageDraw, middle: float, long: float, random: np.random.Generator) -> None:
    """Red and round, with some black spots."""
    wide = long * 0.85
    legs(draw, middle, long, wide * 0.8)
    oval(draw, middle, middle - long * 0.85, wide * 0.5, long * 0.3, (20, 18, 18))
    oval(draw, middle, middle, wide, long, colour(random.uniform(-0.01, 0.04), 0.9, random.uniform(0.7, 0.9)))
    draw.line((middle, middle - long, middle, middle + long), fill=(20, 18, 18), width=max(int(long / 16), 1))
    for row in range(random.integers(2, 4)):
        for side in (-1, 1):
            where = middle + side * wide * random.uniform(0.35, 0.55), middle + long * (-0.45 + 0.45 * row)
            oval(draw, *where, wide * 0.16, wide * 0.16, (20, 18, 18))


def potato(draw: ImageDraw.ImageDraw, middle: float, long: float, random: np.random.Generator) -> None:
    """A potato beetle: yellow, with black stripes from end to end."""
    wide = long * 0.65
    legs(draw, middle, long, wide)
    oval(draw, middle, middle - long * 0.9, wide * 0.6, long * 0.3, colour(0.07, 0.85, 0.75))
    oval(draw, middle, middle, wide, long, colour(random.uniform(0.11, 0.15), 0.75, random.uniform(0.85, 0.95)))
    for place in np.linspace(-0.75, 0.75, 6):
        reach = long * 0.92 * np.sqrt(1 - place**2)
        line = (middle + place * wide, middle - reach, middle + place * wide, middle + reach)
        draw.line(line, fill=(25, 20, 15), width=max(int(wide / 7), 1))


def chafer(draw: ImageDraw.ImageDraw, middle: float, long: float, random: np.random.Generator) -> None:
    """A rose chafer: broad, green as metal, with a gleam."""
    wide, hue = long * 0.72, random.uniform(0.27, 0.42)
    legs(draw, middle, long, wide)
    oval(draw, middle, middle - long * 0.75, wide * 0.75, long * 0.45, colour(hue, 0.8, 0.35))
    oval(draw, middle, middle + long * 0.1, wide, long * 0.9, colour(hue, 0.85, random.uniform(0.45, 0.65)))
    oval(draw, middle - wide * 0.35, middle - long * 0.1, wide * 0.18, long * 0.4, colour(hue, 0.35, 0.85))


def stag(draw: ImageDraw.ImageDraw, middle: float, long: float, random: np.random.Generator) -> None:
    """A stag beetle: long, dark brown, with mandibles."""
    wide, dark = long * 0.5, colour(random.uniform(0.0, 0.06), 0.7, random.uniform(0.18, 0.32))
    legs(draw, middle, long, wide * 1.2)
    for side in (-1, 1):
        edge = sorted((middle + side * wide * 0.1, middle + side * wide * 0.9))
        start, end = (90, 270) if side < 0 else (270, 450)
        box = (edge[0], middle - long * 1.35, edge[1], middle - long * 0.65)
        draw.arc(box, start, end, fill=dark, width=max(int(long / 9), 1))
    oval(draw, middle, middle - long * 0.6, wide * 0.9, long * 0.28, dark)
    oval(draw, middle, middle + long * 0.2, wide, long * 0.8, dark)
    draw.line((middle, middle - long * 0.4, middle, middle + long), fill=(15, 10, 8), width=max(int(long / 20), 1))


DRAWN = {"chafer": chafer, "ladybird": ladybird, "potato": potato, "stag": stag}

if __name__ == "__main__":
    main()
