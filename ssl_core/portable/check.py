"""Whether what was written gives the vectors that the encoder gives: on a few real pictures, or on seeded ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_core.data.errors import BadImage
from ssl_core.data.images import load_square
from ssl_core.inference.base import Images, Vectors
from ssl_core.inference.check import least_cosine

LEAST_COSINE = 0.99999  # fp32 against fp32: other kernels, the same numbers but for their rounding
MOST_DIFFERENCE = 1e-3  # of the largest number in the encoder's vectors
BATCHES = (1, 7)  # what was traced with two images must take any number
SEEDED = 16
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

Run = Callable[[Images], Vectors]


class Disagrees(ValueError):
    """What was written gives other vectors than the encoder: nothing is handed out."""


@dataclass(frozen=True)
class Agreement:
    """To fp32 torch. images: looked at, `pictures` "real" or "seeded"; least_cosine: of the worst of them; largest_difference:
    of any number; largest_value: of the encoder's vectors."""

    images: int
    pictures: str
    least_cosine: float
    largest_difference: float
    largest_value: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def agreement(run: Run, expected: Vectors, images: Images, pictures: str) -> Agreement:
    """Compare `run` with the vectors (N, dim) that the encoder gives for `images`. Raises Disagrees."""
    found = np.concatenate([run(images[start:end]) for start, end in _spans(len(images))])
    cosine = least_cosine(found, expected)
    same = found.shape == expected.shape
    difference = float(np.abs(found.astype(np.float64) - expected).max()) if same else float("inf")
    largest = float(np.abs(expected).max())
    if not cosine >= LEAST_COSINE or not difference <= MOST_DIFFERENCE * max(largest, 1e-6):
        raise Disagrees(
            f"its vectors differ from the encoder's: a cosine of {cosine:.6f} (at least {LEAST_COSINE}), numbers by up to "
            f"{difference:.3g} (at most {MOST_DIFFERENCE:g} of {largest:.3g}); nothing was written"
        )
    return Agreement(len(images), pictures, round(cosine, 8), float(f"{difference:.3g}"), float(f"{largest:.4g}"))


def _spans(count: int) -> list[tuple[int, int]]:
    """Batches of different sizes that cover all images."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < count:
        end = min(count, start + BATCHES[len(spans) % len(BATCHES)])
        spans.append((start, end))
        start = end
    return spans


def pictures_of(folder: Path | None, size: int, short_side: int) -> tuple[Images, str]:
    """uint8 (N, size, size, 3) and "real" or "seeded": the first readable pictures of a folder, or seeded ones."""
    if folder is None:
        return seeded(SEEDED, size), "seeded"
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.suffix.lower() in _SUFFIXES):
        try:
            found.append(load_square(path, size, short_side))
        except BadImage:
            continue
        if len(found) == SEEDED:
            break
    if not found:
        raise ValueError(f"{folder} holds no picture that can be read")
    return np.stack(found), "real"


def seeded(count: int, size: int, seed: int = 0) -> Images:
    """Pictures of chance with structure at every scale, as photographs have it: sums of noise from 1 px to half the picture."""
    random = np.random.default_rng(seed)
    total = np.zeros((count, size, size, 3))
    cell = 1
    while cell <= max(size // 2, 1):
        side = -(-size // cell)
        noise = random.normal(size=(count, side, side, 3)).repeat(cell, 1).repeat(cell, 2)[:, :size, :size]
        total += noise * cell**0.5
        cell *= 2
    low, high = total.min((1, 2, 3), keepdims=True), total.max((1, 2, 3), keepdims=True)
    pixels: Images = np.round(255 * (total - low) / (high - low)).astype(np.uint8)
    return pixels
