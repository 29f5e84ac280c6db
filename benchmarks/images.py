"""Pictures to measure with: a folder of yours, or JPEGs cut from the two photographs that come with scikit-learn."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssl_core.data.images import load_square

SUFFIXES = {".jpg", ".jpeg"}
LARGEST = 427  # px, the short side of both photographs


@contextmanager
def image_folder(given: Path | None, count: int, size: int, seed: int, classes: int = 10) -> Iterator[Path]:
    """`given`, or, where there is none, a temporary folder that `write_jpegs` fills.

    Ends the script with a sentence if `given` holds no JPEG.
    """
    if given is not None:
        if not jpegs(given):
            raise SystemExit(f"{given} holds no .jpg or .jpeg file, nor does a folder in it")
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as folder:
        write_jpegs(Path(folder), count, size, seed, classes)
        yield Path(folder)


def write_jpegs(folder: Path, count: int, size: int, seed: int, classes: int = 10) -> None:
    """`count` JPEGs of size×size px (8 to 427) in class folders: random crops, of a third of the short side or more, scaled down.

    The classes mean nothing; what matters here is that the files are as large, and as hard to decode, as photographs are.
    """
    from sklearn.datasets import load_sample_images

    if not 8 <= size <= LARGEST:
        raise ValueError(f"size = {size} must be between 8 and {LARGEST} px, what the photographs have")
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(seed)
    for number in range(count):
        picture = photographs[random.integers(len(photographs))]
        side = int(random.integers(max(size, LARGEST // 3), LARGEST + 1))
        left, top = (int(random.integers(length - side + 1)) for length in picture.size)
        place = folder / f"class{number % classes}"
        place.mkdir(parents=True, exist_ok=True)
        crop = picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
        crop.save(place / f"{number:06d}.jpg", quality=90)


def jpegs(folder: Path) -> list[Path]:
    """Every JPEG below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def squares(folder: Path, count: int, size: int) -> Tensor:
    """uint8 (count, 3, size, size) of the pictures in a folder.

    Evenly spread over the sorted files, so that every class is there; where there are fewer, they are repeated.
    """
    paths = jpegs(folder)
    return decode(list(islice(cycle(paths[:: max(1, len(paths) // count)]), count)), size)


def decode(paths: Sequence[Path], size: int) -> Tensor:
    """uint8 (N, 3, size, size): pictures as Imprint keeps them, the short side resized and the centre cut out."""
    pixels = np.stack([load_square(path, size, size) for path in paths])
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def picture(image: Tensor) -> Image.Image:
    """One of them, uint8 (3, H, W), as the PIL image that torchvision's transforms take."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
