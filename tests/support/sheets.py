"""Contact sheets as pixels, for the tests that look into them."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pixels(sheet: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(sheet)) as image:
        assert image.format == "PNG" and image.mode == "RGB"
        return np.asarray(image)


def holds(sheet: NDArray[np.uint8], picture: NDArray[np.uint8]) -> bool:
    """Whether a picture stands somewhere in the sheet, pixel for pixel."""
    high, wide = picture.shape[:2]
    corner = np.argwhere((sheet[: -high + 1, : -wide + 1] == picture[0, 0]).all(2))
    return any((sheet[y : y + high, x : x + wide] == picture).all() for y, x in corner)
