"""What comes out of the views is distributed as what comes out of torchvision's transforms, on photographs.

For each operation and for the whole recipe, 4,800 of our views and 2,560 of torchvision's, of 16 squares of scikit-learn's two
photographs, are measured, each against the square that it shows: channels, spread, saturation, sharpness, luma, and which
side is the brighter one. Every measure must pass a two-sample Kolmogorov-Smirnov test at 0.012 % (there are many of them), and
some measure must fail it when our config is another one: a range halved, a probability 0.1 larger.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import functional as F

from ssl_core.augment import colour, make_view
from ssl_core.augment.draw import Purpose
from ssl_core.augment.random import uniforms
from ssl_core.spec import ViewConfig

OURS, THEIRS = 4800, 2560  # views; torchvision's are drawn one by one,
SLOW = ("hue", "jitter", "rotation", "shear", "shift", "recipe")  # and of these half as many
SIDE, CROPPED = 32, 28  # px of a square, and of a crop from it: images are kept 8/7 as large as views
FRAMED = 64  # px of a square in a black frame, for moves: torchvision blends the edge of an image with black, ours is sharp
MEASURED = {"shift": ("tilt x", "tilt y")}  # only: torchvision shifts by whole pixels, and so blurs nothing
LIMIT = 2.2  # of the distance of two distribution functions, times √(nm / (n + m)): one in 8,000 equal pairs is further apart
BILINEAR = T.InterpolationMode.BILINEAR
PLAIN = {"crop_scale": (1, 1), "crop_ratio": (1, 1), "flip": 0, "jitter": 0, "grayscale": 0, "blur": 0}
COLOURS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
RECIPE = {"crop_scale": (0.2, 1.0), "crop_ratio": (3 / 4, 4 / 3), "flip": 0.5, "jitter": 0.8, "grayscale": 0.2, **COLOURS}


def only(**fields: Any) -> dict[str, Any]:
    """The jitter with these strengths alone, on every image."""
    return {"jitter": 1, **dict.fromkeys(COLOURS, 0), **fields}


def simclr(size: int) -> Callable[[Tensor], Tensor]:
    """SimCLR's and MoCo v2's recipe in torchvision's transforms; σ up to 2 px reaches 6 px."""
    return T.Compose(
        [
            T.RandomResizedCrop(size, (0.2, 1.0), antialias=True),
            T.RandomHorizontalFlip(0.5),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            T.RandomGrayscale(0.2),
            T.RandomApply([T.GaussianBlur(13, (0.1, 2.0))], 0.5),
        ]
    )


# name: (size of the view, our fields beside PLAIN, torchvision's transform, fields that make it another distribution)
CASES: dict[str, tuple[int, dict[str, Any], Callable[[Tensor], Tensor], list[dict[str, Any]]]] = {
    "flip": (SIDE, {"flip": 0.5}, T.RandomHorizontalFlip(0.5), [{"flip": 0.6}]),
    "vertical flip": (SIDE, {"vertical_flip": 0.5}, T.RandomVerticalFlip(0.5), [{"vertical_flip": 0.6}]),
    "brightness": (SIDE, only(brightness=0.4), T.ColorJitter(brightness=0.4), [{"brightness": 0.2}]),
    "contrast": (SIDE, only(contrast=0.4), T.ColorJitter(contrast=0.4), [{"contrast": 0.2}]),
    "saturation": (SIDE, only(saturation=0.4), T.ColorJitter(saturation=0.4), [{"saturation": 0.2}]),
    "hue": (SIDE, only(hue=0.1), T.ColorJitter(hue=0.1), [{"hue": 0.05}]),
    "jitter": (
        SIDE,
        {"jitter": 0.8, **COLOURS},
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
        [{"jitter": 0.7}, {name: reach / 2 for name, reach in COLOURS.items()}, {"brightness": 0.2}],
    ),
    "grayscale": (SIDE, {"grayscale": 0.2}, T.RandomGrayscale(0.2), [{"grayscale": 0.3}]),
    "blur": (
        SIDE,
        {"blur": 0.5, "blur_sigma": (0.1, 2.0)},
        T.RandomApply([T.GaussianBlur(13, (0.1, 2.0))], 0.5),
        [{"blur": 0.6}, {"blur_sigma": (0.1, 1.0)}],
    ),
    "solarise": (SIDE, {"solarize": 0.2}, T.RandomSolarize(0.5, 0.2), [{"solarize": 0.3}]),
    "crop": (
        CROPPED,
        {"crop_scale": (0.2, 1.0), "crop_ratio": (3 / 4, 4 / 3)},
        T.RandomResizedCrop(CROPPED, (0.2, 1.0), antialias=True),
        [{"crop_scale": (0.08, 1.0)}, {"crop_scale": (0.4, 1.0)}],
    ),
    "rotation": (FRAMED, {"degrees": 30}, T.RandomAffine(30, interpolation=BILINEAR), [{"degrees": 15}]),
    "shear": (FRAMED, {"shear": 20}, T.RandomAffine(0, shear=20, interpolation=BILINEAR), [{"shear": 10}]),
    "shift": (FRAMED, {"translate": 0.25}, T.RandomAffine(0, (0.25, 0.25), interpolation=BILINEAR), [{"translate": 0.12}]),
    "recipe": (
        CROPPED,
        {**RECIPE, "blur": 0.5},
        simclr(CROPPED),
        [
            {"flip": 0.7},
            {"grayscale": 0.3},
            {"blur": 0.7},
            {"crop_scale": (0.5, 1.0)},
            {name: reach / 2 for name, reach in COLOURS.items()},
        ],
    ),
}


@cache
def squares(framed: bool) -> Tensor:
    """The 16 squares, of all in the two photographs, with the largest difference between left and right: (16, 3, s, s)."""
    pieces = []
    for photo in load_sample_images().images:
        small = F.resize(torch.from_numpy(photo.copy()).permute(2, 0, 1), 4 * SIDE, antialias=True)
        high, wide = small.shape[1:]
        tops, lefts = range(0, high - SIDE + 1, SIDE // 2), range(0, wide - SIDE + 1, SIDE // 2)
        pieces += [F.crop(small, top, left, SIDE, SIDE) for top in tops for left in lefts]
    every = torch.stack(pieces).float() / 255
    chosen = every[tilt(every, 3).abs().argsort(descending=True)[:16]]
    return F.pad(chosen, [(FRAMED - SIDE) // 2]) if framed else chosen


def tilt(images: Tensor, axis: int) -> Tensor:
    """By how much the first half of an axis is brighter than the last, (N,)."""
    first, last = (half.mean((1, 2, 3)) for half in images.tensor_split(2, axis))
    return first - last


def measures(views: Tensor) -> dict[str, Tensor]:
    """Numbers of each view (N, 3, s, s), (N,) each, less those of the square that it was made from."""
    found = []
    for images in (views, squares(views.shape[-1] == FRAMED)):
        red, green, blue = images.mean((2, 3)).unbind(1)
        across, down = ((images.diff(dim=axis)).abs().mean((1, 2, 3)) for axis in (3, 2))
        found.append(
            {
                "red": red,
                "green": green,
                "blue": blue,
                "spread": images.std((1, 2, 3)),
                "saturation": (images.amax(1) - images.amin(1)).mean((1, 2)),
                "sharpness": across + down,
                "tilt x": tilt(images, 3),
                "tilt y": tilt(images, 2),
                "luma": colour.luma(images).mean((1, 2, 3)),
            }
        )
    of_views, of_squares = found
    return {name: values - of_squares[name].repeat(len(views) // 16) for name, values in of_views.items()}


@cache
def theirs(name: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    size, _, transform, _ = CASES[name]
    times = THEIRS // 32 if name in SLOW else THEIRS // 16
    return measures(torch.stack([transform(square) for _ in range(times) for square in squares(size == FRAMED)]))


def ours(name: str, **changes: Any) -> dict[str, Tensor]:
    size, fields = CASES[name][:2]
    config = ViewConfig.model_validate({**PLAIN, **fields, **changes})
    random = uniforms(0, 1, torch.arange(OURS), 0, Purpose.COUNT)
    return measures(make_view(squares(size == FRAMED).repeat(OURS // 16, 1, 1, 1), config, size, random))


def apart(name: str, **changes: Any) -> dict[str, float]:
    """The largest distance of the two distribution functions, times √(nm / (n + m)), for each measure."""
    found = {}
    for (measure, mine), other in zip(ours(name, **changes).items(), theirs(name).values(), strict=True):
        if measure not in MEASURED.get(name, (measure,)):
            continue
        rounded = [values.mul(1e5).round().numpy() for values in (mine, other)]  # what is 0 but for rounding is 0
        n, m = len(mine), len(other)
        found[measure] = round(float(ks_2samp(*rounded, method="asymp").statistic) * (n * m / (n + m)) ** 0.5, 2)
    return found


@pytest.mark.parametrize("name", CASES)
def test_distributed_as_torchvisions(name: str) -> None:
    found = apart(name)
    assert max(found.values()) < LIMIT, found


@pytest.mark.parametrize(("name", "changes"), [(name, wrong) for name, case in CASES.items() for wrong in case[3]], ids=str)
def test_another_distribution_is_noticed(name: str, changes: dict[str, Any]) -> None:
    found = apart(name, **changes)
    assert max(found.values()) > LIMIT, found
