"""Images/s of one core for two views of each image: the reference's pipeline on PIL images, lightly's, kornia's and ours.

    python benchmarks/augmentation.py [--photos DIR] [--cifar DIR] [--seconds 3] [--rounds 5] [--sizes 32,96,224]
        [--batch 256,64,32] [--seed 0]

All four draw MoCo v2's views: crop of 20 to 100 % of the area, flip, colour jitter 0.4/0.4/0.4/0.1 with probability 0.8,
grayscale 0.2, blur 0.5 (not at 32 px, as in the presets), ImageNet's normalisation. They start from the same decoded squares
and end with float32 tensors; decoding is not counted. Where they differ:

- torchvision on PIL and lightly take one PIL image after the other, and resize with antialiasing. Stacking is not counted.
- torchvision draws the order of the four colour operations anew for each image, kornia for each batch; ours is fixed.
- kornia's batch is float from the start, and its conversion is not counted; its blur has 13 taps, as ours, for 3σ.
- ours starts from uint8. Its blur mirrors at the edges; Pillow's is three box blurs.

DIR is searched for JPEGs; without it they are cut from scikit-learn's photographs. One process, one thread, pinned to one
processor; the pipelines take turns, and a ratio is between two turns of one round. Kornia: `pip install -e '.[dev,bench]'`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from images import image_folder, picture, squares
from machine import describe, use_one_core
from PIL import Image
from reference import Views, reference_transform
from torch import Tensor

from ssl_core.augment import make_views
from ssl_core.data.defaults import IMAGENET_STATISTICS
from ssl_core.spec import AugmentConfig

MEAN, STD = IMAGENET_STATISTICS
OURS = "ours"


@dataclass(frozen=True)
class Case:
    """What is measured at one size: images are kept as squares of `stored` px, and drawn `batch` at a time."""

    size: int
    stored: int
    batch: int
    blur: float
    goal: float  # times the speed of torchvision on PIL


CASES = {
    32: Case(32, stored=32, batch=256, blur=0.0, goal=10),
    96: Case(96, stored=110, batch=64, blur=0.5, goal=3),
    224: Case(224, stored=256, batch=32, blur=0.5, goal=2),
}

Draw = Callable[[], list[Views]]  # two views of all the images: image by image (3, S, S), or in one batch (N, 3, S, S)


def torchvision_on_pil(case: Case, images: Tensor) -> Draw:
    """The reference's pipeline."""
    transform = reference_transform(case.size, case.blur > 0, MEAN, STD)
    pictures = [picture(image) for image in images]
    return lambda: [transform(each) for each in pictures]


def lightly(case: Case, images: Tensor) -> Draw:
    """lightly's transform for MoCo v2, whose defaults are the recipe."""
    from lightly.transforms.moco_transform import MoCoV2Transform

    transform: Callable[[Image.Image], Any] = MoCoV2Transform(input_size=case.size, gaussian_blur=case.blur)
    pictures = [picture(image) for image in images]
    return lambda: [tuple(transform(each)) for each in pictures]


def kornia(case: Case, images: Tensor) -> Draw:
    """kornia's augmentations of the same names, on a batch."""
    import kornia.augmentation as K

    steps = [
        K.RandomResizedCrop((case.size, case.size), scale=(0.2, 1.0)),
        K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomHorizontalFlip(p=0.5),
        *([K.RandomGaussianBlur((13, 13), (0.1, 2.0), p=case.blur)] if case.blur else []),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ]
    transform = torch.nn.Sequential(*steps)
    values = images.float() / 255
    return torch.no_grad()(lambda: [(transform(values), transform(values))])


def ours(case: Case, images: Tensor) -> Draw:
    """ssl_core.augment.make_views."""
    augment = AugmentConfig(blur=case.blur)
    index, epoch = torch.arange(len(images)), iter(range(sys.maxsize))
    return lambda: [make_views(images, augment, case.size, MEAN, STD, seed=0, epoch=next(epoch), index=index)]


PIPELINES: dict[str, Callable[[Case, Tensor], Draw]] = {
    "torchvision on PIL": torchvision_on_pil,
    "lightly": lightly,
    "kornia": kornia,
    OURS: ours,
}


def speed(draw: Draw, images: int, seconds: float) -> float:
    """Images/s of as many draws as it takes to fill `seconds`, at least one."""
    began = time.perf_counter()
    draws = 0
    while True:
        draw()
        draws += 1
        elapsed = time.perf_counter() - began
        if elapsed >= seconds:
            return draws * images / elapsed


def measure(case: Case, images: Tensor, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Images/s of each pipeline that is installed, by rounds, in which they take turns. The first draw is not counted."""
    draws: dict[str, Draw] = {}
    for name, build in PIPELINES.items():
        try:
            draws[name] = build(case, images)
        except ModuleNotFoundError as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)
    for draw in draws.values():
        draw()
    speeds: dict[str, list[float]] = {name: [] for name in draws}
    for number in range(rounds):
        for name, draw in draws.items():
            speeds[name].append(speed(draw, case.batch, seconds))
        latest = ", ".join(f"{name} {values[-1]:,.0f}" for name, values in speeds.items())
        print(f"{case.size} px, round {number + 1} of {rounds}: {latest} images/s", file=sys.stderr, flush=True)
    return speeds


def rows(case: Case, speeds: dict[str, list[float]]) -> list[str]:
    """The table's lines for one size. A pipeline that was skipped has a line that says so."""
    lines = []
    for name in PIPELINES:
        if name not in speeds:
            lines.append(f"| {case.size} px | {name} | not installed | |")
            continue
        ratios = [mine / theirs for mine, theirs in zip(speeds[OURS], speeds[name], strict=True)]
        ratio = "" if name == OURS else _spread(ratios, ".2f")
        goal = f" (goal: {case.goal:g})" if name == "torchvision on PIL" else ""
        lines.append(f"| {case.size} px | {name} | {_spread(speeds[name], ',.0f')} | {ratio}{goal} |")
    return lines


def _spread(values: list[float], form: str) -> str:
    return " / ".join(format(value, form) for value in (min(values), statistics.median(values), max(values)))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="JPEGs for 96 and 224 px")
    parser.add_argument("--cifar", type=Path, help="JPEGs for 32 px")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=_numbers, default=[*CASES])
    parser.add_argument("--batch", type=_numbers, help="images at a time, for each of --sizes; default: 256, 64 and 32")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not set(arguments.sizes) <= set(CASES):
        parser.error(f"--sizes {arguments.sizes}: choose from {[*CASES]}")
    cases = [CASES[size] for size in arguments.sizes]
    if arguments.batch:
        if len(arguments.batch) != len(cases):
            parser.error(f"--batch {arguments.batch}: give one for each of --sizes {arguments.sizes}")
        cases = [replace(case, batch=batch) for case, batch in zip(cases, arguments.batch, strict=True)]

    use_one_core()
    for seed in (random.seed, np.random.seed, torch.manual_seed):  # each of the libraries draws from another
        seed(arguments.seed)
    table = []
    for case in cases:
        given = arguments.cifar if case.size == 32 else arguments.photos
        with image_folder(given, case.batch, case.stored, arguments.seed) as folder:
            images = squares(folder, case.batch, case.stored)
        table += rows(case, measure(case, images, arguments.seconds, arguments.rounds))
    print(describe(arguments.seed, ["pillow", "lightly", "kornia"]))
    print(f"Two views of each image; {arguments.rounds} rounds, turns of {arguments.seconds:g} s, min / median / max.\n")
    print("| size | pipeline | images/s of one core | ours is so many times as fast |\n|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
