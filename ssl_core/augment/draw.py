"""From uniform numbers to what is done to each image: where a view looks, and how strongly each operation acts.

random = uniforms(seed, epoch, index, view, Purpose.COUNT)    # or torch.rand(Purpose.COUNT, N, generator=generator)
strengths = draw(config, random)
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_core.augment import geometry
from ssl_core.augment.blur import gaussian_kernels
from ssl_core.spec import ViewConfig


class Purpose(IntEnum):
    """Which row of an image's random numbers is for what. New purposes go to the end, so that old runs stay reproducible."""

    FLIP = 0
    VERTICAL_FLIP = 1
    ANGLE = 2
    SHIFT_X = 3
    SHIFT_Y = 4
    SHEAR = 5
    LEFT = 6
    TOP = 7
    JITTER = 8
    BRIGHTNESS = 9
    CONTRAST = 10
    SATURATION = 11
    HUE = 12
    GRAYSCALE = 13
    BLUR = 14
    SIGMA = 15
    SOLARIZE = 16
    AREA = 17
    RATIO = 27  # geometry.TRIES after AREA, and as many rows
    COUNT = 37


class Look(NamedTuple):
    """Where N views look."""

    boxes: Tensor  # (N, 4): left, top, width, height, as shares of the side
    flip_x: Tensor  # bool (N,)
    flip_y: Tensor  # bool (N,)
    moves: Tensor | None  # (N, 2, 3): affine maps of what the boxes show; None: it stays in place

    def maps(self) -> Tensor:
        """All of it as one map from the view to the image, (N, 2, 3)."""
        maps = geometry.box_maps(self.boxes, self.flip_x, self.flip_y)
        return maps if self.moves is None else geometry.after(maps, self.moves)


class Strengths(NamedTuple):
    """What is done to the colours and edges of N views, in this order; None: nothing.

    Views that are not chosen for the colour jitter have strengths that change nothing.
    """

    brightness: Tensor | None = None  # (N,) factors, as contrast and saturation
    contrast: Tensor | None = None
    saturation: Tensor | None = None
    hue: Tensor | None = None  # (N,) in [-0.5, 0.5] of a full circle
    gray: Tensor | None = None  # bool (N,)
    kernels: Tensor | None = None  # (N, 2 radius + 1): of the blur
    blurred: Tensor | None = None  # bool (N,); None: all of them, if there are kernels
    solarized: Tensor | None = None  # bool (N,)

    def of(self, places: slice, chosen: list[bool]) -> Strengths:
        """Those of some of the views, on all of which the same choices fell: `chosen`, in the order of `choices`."""
        wanted = [name for names, yes in zip(_CHOSEN, chosen, strict=True) if yes for name in names]
        fields = ((name, getattr(self, name)) for name in wanted)
        return Strengths(**{name: field[places] for name, field in fields if field is not None})


_CHOSEN = (("brightness", "contrast", "saturation", "hue"), ("gray",), ("kernels",), ("solarized",))  # as in `choices`


def look(config: ViewConfig, random: Tensor) -> Look:
    """Where N views look, by float32 `random` (Purpose.COUNT, N), uniform in [0, 1)."""
    boxes = geometry.crop_boxes(
        random[Purpose.AREA : Purpose.RATIO],
        random[Purpose.RATIO : Purpose.COUNT],
        random[Purpose.LEFT],
        random[Purpose.TOP],
        config.crop_scale,
        config.crop_ratio,
    )
    moves = None
    if config.degrees > 0 or config.translate > 0 or config.shear > 0:
        ranges = (config.degrees, config.translate, config.translate, config.shear)
        purposes = (Purpose.ANGLE, Purpose.SHIFT_X, Purpose.SHIFT_Y, Purpose.SHEAR)
        drawn = [(2 * random[purpose] - 1) * reach for purpose, reach in zip(purposes, ranges, strict=True)]
        moves = geometry.affine_maps(*drawn)
    return Look(boxes, random[Purpose.FLIP] < config.flip, random[Purpose.VERTICAL_FLIP] < config.vertical_flip, moves)


def choices(config: ViewConfig, random: Tensor) -> list[Tensor]:
    """Which views are chosen for jitter, grayscale, blur and solarise: bool (N,) each."""
    chances = (config.jitter, config.grayscale, config.blur, config.solarize)
    purposes = (Purpose.JITTER, Purpose.GRAYSCALE, Purpose.BLUR, Purpose.SOLARIZE)
    return [random[purpose] < chance for purpose, chance in zip(purposes, chances, strict=True)]


def strengths(config: ViewConfig, size: int, random: Tensor) -> Strengths:
    """What is done to N views, by float32 `random` (Purpose.COUNT, N), uniform in [0, 1)."""
    jittered, gray, blurred, solarized = choices(config, random)

    def jitter(purpose: Purpose, neutral: float, reach: float) -> Tensor | None:
        if config.jitter == 0 or reach == 0:
            return None
        return torch.where(jittered, neutral + (2 * random[purpose] - 1) * reach, neutral)

    low, high = config.blur_sigma
    return Strengths(
        brightness=jitter(Purpose.BRIGHTNESS, 1, config.brightness),
        contrast=jitter(Purpose.CONTRAST, 1, config.contrast),
        saturation=jitter(Purpose.SATURATION, 1, config.saturation),
        hue=jitter(Purpose.HUE, 0, config.hue),
        gray=gray if config.grayscale > 0 else None,
        kernels=gaussian_kernels(low + random[Purpose.SIGMA] * (high - low), high, size) if config.blur > 0 else None,
        blurred=blurred if config.blur > 0 else None,
        solarized=solarized if config.solarize > 0 else None,
    )
