"""Two views of each image of a batch, on whatever device the batch is.

    make_views(images, augment, size, mean, std, seed, epoch, index) -> (view_a, view_b)
    normalise(images, size, mean, std)                               -> what evaluation and serving see

Every choice is made per image, as a function of (seed, epoch, image, view): an image's views do not depend on the batch it
comes in. The order of operations is fixed: crop, flip, affine (one pass over the pixels), brightness, contrast, saturation,
hue, grayscale, blur, solarise. torchvision draws the order of the four colour operations anew for each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import torch
from torch import Tensor

from ssl_core.augment import colour, geometry
from ssl_core.augment.random import uniforms
from ssl_core.spec import AugmentConfig, ViewConfig

CACHED = 2**17  # pixels that a CPU works on at once: what is in its cache need not be fetched again for each operation


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


@torch.no_grad()
def make_views(
    images: Tensor,
    augment: AugmentConfig,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    epoch: int,
    index: Tensor,
) -> tuple[Tensor, Tensor]:
    """Two views, float32 (N, 3, size, size) each, normalised: (x - mean) / std of values in [0, 1].

    `images` uint8 (N, 3, S, S), `index` int64 (N,): the images' numbers in their store, on the same device.
    """
    count = len(images)
    first, second = (torch.empty((count, 3, size, size), device=images.device) for _ in range(2))
    step = max(8, CACHED // size**2) if images.device.type == "cpu" else max(1, count)
    with torch.autocast(images.device.type, enabled=False):  # half precision would show as noise in the colours
        for part in (slice(start, start + step) for start in range(0, count, step)):
            pixels = images[part].to(torch.float32)
            for number, (config, views) in enumerate(zip(augment.views(), (first, second), strict=True)):
                random = uniforms(seed, epoch, index[part], number, Purpose.COUNT)
                views[part] = _standardise(make_view(pixels, config, size, random), mean, std)
    return first, second


@torch.no_grad()
def normalise(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The central `size` pixels of uint8 (N, 3, S, S) as float32 (N, 3, size, size), (x - mean) / std of values in [0, 1]."""
    inset = (images.shape[-1] - size) // 2
    cut = images[..., inset : inset + size, inset : inset + size]
    return _standardise(cut.to(torch.float32).mul_(1 / 255), mean, std)


def make_view(pixels: Tensor, config: ViewConfig, size: int, random: Tensor) -> Tensor:
    """One view in [0, 1], float32 (N, 3, size, size), of `pixels` float32 (N, 3, S, S) in [0, 255].

    `random` (Purpose.COUNT, N) holds the images' uniform numbers in [0, 1).
    """
    view = _look(pixels, config, size, random).mul_(1 / 255)
    if config.jitter > 0:
        view = _jitter(view, config, random)
    if config.grayscale > 0:
        view = colour.grayscale(view, random[Purpose.GRAYSCALE] < config.grayscale)
    if config.blur > 0:
        view = _blur(view, config, random)
    if config.solarize > 0:
        view = colour.solarize(view, random[Purpose.SOLARIZE] < config.solarize)
    return view


def _look(pixels: Tensor, config: ViewConfig, size: int, random: Tensor) -> Tensor:
    boxes = geometry.crop_boxes(
        random[Purpose.AREA : Purpose.RATIO],
        random[Purpose.RATIO : Purpose.COUNT],
        random[Purpose.LEFT],
        random[Purpose.TOP],
        config.crop_scale,
        config.crop_ratio,
    )
    maps = geometry.box_maps(boxes, random[Purpose.FLIP] < config.flip, random[Purpose.VERTICAL_FLIP] < config.vertical_flip)
    moves = config.degrees > 0 or config.translate > 0 or config.shear > 0
    if moves:
        ranges = (config.degrees, config.translate, config.translate, config.shear)
        purposes = (Purpose.ANGLE, Purpose.SHIFT_X, Purpose.SHIFT_Y, Purpose.SHEAR)
        drawn = [(2 * random[purpose] - 1) * reach for purpose, reach in zip(purposes, ranges, strict=True)]
        maps = geometry.after(maps, geometry.affine_maps(*drawn))
    return geometry.sample(pixels, maps, size, fill=moves)


def _jitter(view: Tensor, config: ViewConfig, random: Tensor) -> Tensor:
    """Images that are not chosen get the strength that changes nothing."""
    chosen = random[Purpose.JITTER] < config.jitter

    def drawn(purpose: Purpose, reach: float) -> Tensor:
        return torch.where(chosen, (2 * random[purpose] - 1) * reach, 0.0)

    if config.brightness > 0:
        view = colour.brightness(view, 1 + drawn(Purpose.BRIGHTNESS, config.brightness))
    if config.contrast > 0:
        view = colour.contrast(view, 1 + drawn(Purpose.CONTRAST, config.contrast))
    if config.saturation > 0:
        view = colour.saturation(view, 1 + drawn(Purpose.SATURATION, config.saturation))
    if config.hue > 0:
        view = colour.hue(view, drawn(Purpose.HUE, config.hue))
    return view


def _blur(view: Tensor, config: ViewConfig, random: Tensor) -> Tensor:
    chosen = random[Purpose.BLUR] < config.blur
    low, high = config.blur_sigma
    sigma = low + random[Purpose.SIGMA] * (high - low)
    if view.device.type == "cpu":  # elsewhere, asking which ones would wait for the device
        some = chosen.nonzero().squeeze(1)
        view[some] = colour.gaussian_blur(view[some], sigma[some], high)
        return view
    return torch.where(chosen.view(-1, 1, 1, 1), colour.gaussian_blur(view, sigma, high), view)


def _standardise(values: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """In place."""
    centre, spread = (values.new_tensor(list(numbers)).view(1, -1, 1, 1) for numbers in (mean, std))
    return values.sub_(centre).mul_(1 / spread)
