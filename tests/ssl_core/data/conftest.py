"""Small folders of real image files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write("a/b.png", ...) puts pictures, each of its own colours, below the data root and returns the data root."""
    count = 0

    def write(*paths: str, size: tuple[int, int] = (20, 16), gray: bool = False) -> Path:
        nonlocal count
        for path in paths:
            count += 1
            file = tmp_path / "root" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(count).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            image = Image.fromarray(pixels)
            (image.convert("L") if gray else image).save(file)
        return tmp_path / "root"

    return write
