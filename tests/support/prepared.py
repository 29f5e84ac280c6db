"""Folders of pictures to prepare, and what a preparation should come to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ssl_core.data.images import load_square

SIDE = 16


def picture(path: Path, seed: int, side: int = 24) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def pictures(root: Path, count: int) -> Path:
    for number in range(count):
        picture(root / f"{number % 3}" / f"{number:04}.png", number)
    return root


class Calls:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.seen.append((done, total))


def rows(prepared: object) -> np.ndarray:
    return np.fromfile(prepared.images, np.uint8).reshape(prepared.count, 3, prepared.side, prepared.side)


def expected(root: Path, path: str) -> np.ndarray:
    return load_square(root / path, SIDE, SIDE).transpose(2, 0, 1)
