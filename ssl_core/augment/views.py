"""Views of each image of a batch, on whatever device the batch is.

    make_views(images, augment, size, mean, std, seed, epoch, index) -> (view_a, view_b, local, local, …)
    make_view(images, config, size, random)                          -> one view, by any random numbers
    normalise(images, size, mean, std)                               -> what evaluation and serving see

Every choice is made per image, as a function of (seed, epoch, image, view): an image's views do not depend on the batch it
comes in. The order of operations is fixed: crop, flip, affine (one pass over the pixels), brightness, contrast, saturation,
hue, grayscale, blur, solarise. torchvision draws the order of the four colour operations anew for each image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from ssl_core.augment import colour, draw, geometry
from ssl_core.augment.blur import gaussian_blur
from ssl_core.augment.cpu import in_chunks
from ssl_core.augment.draw import Purpose, Strengths
from ssl_core.augment.random import uniforms
from ssl_core.spec import AugmentConfig, ViewConfig


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
) -> tuple[Tensor, ...]:
    """Two views, float32 (N, C, size, size) each, then the local ones, (N, C, s, s), with s = augment.local_views.side(size).

    Normalised: (x - mean) / std of values in [0, 1], with C numbers each, or one for all channels. In memory, channels are
    last. `images` uint8 (N, C, S, S), `index` int64 (N,): the images' numbers in their store, on the same device. Views are
    numbered in this order, so that more local views leave the others as they are.
    """
    pixels = images if images.device.type == "cpu" else _in_unit_range(images)  # once for all views
    views = []
    for number, config in enumerate(augment.views()):
        side = size if number < 2 else augment.local_views.side(size)
        random = uniforms(seed, epoch, index, number, Purpose.COUNT)
        views.append(make_view(pixels, config, side, random, mean, std))
    return tuple(views)


@torch.no_grad()
def make_view(
    images: Tensor, config: ViewConfig, size: int, random: Tensor, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
) -> Tensor:
    """One view, float32 (N, C, size, size), channels last in memory: (x - mean) / std of values in [0, 1].

    `images` (N, C, S, S), S ≥ 2: uint8, or float in [0, 1]. `random` float32 (Purpose.COUNT, N): uniform numbers in [0, 1), by
    `uniforms` or by any generator: torch.rand(Purpose.COUNT, N, generator=generator).
    """
    finish = partial(_finish, mean=tuple(mean), std=tuple(std))
    with torch.autocast(images.device.type, enabled=False):  # half precision would show as noise in the colours
        draw_view = in_chunks if images.device.type == "cpu" else at_once
        return draw_view(images, config, size, random, finish)


@torch.no_grad()
def normalise(images: Tensor, size: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """The central `size` pixels of uint8 (N, C, S, S) as float32 (N, C, size, size), (x - mean) / std of values in [0, 1]."""
    inset = (images.shape[-1] - size) // 2
    cut = images[..., inset : inset + size, inset : inset + size]
    return _standardise(_in_unit_range(cut), tuple(mean), tuple(std))


def at_once(
    images: Tensor, config: ViewConfig, size: int, random: Tensor, finish: Callable[[Tensor, Strengths], Tensor]
) -> Tensor:
    """What `in_chunks` does, for accelerators: all images in one pass, where those that are not chosen are masked.

    Nothing here asks the device for a value or sends it one, so that the host can run ahead.
    """
    times = geometry.halvings(images.shape[-1], size, config.crop_scale, config.crop_ratio)
    pixels = geometry.halved(_in_unit_range(images), times)
    look = draw.look(config, random)
    view = geometry.sample(pixels, look.maps(), size, fill=look.moves is not None)
    return finish(view, draw.strengths(config, size, random)).contiguous(memory_format=torch.channels_last)


def _finish(view: Tensor, strengths: Strengths, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """All that follows the crop, in its order."""
    s = strengths
    if s.brightness is not None:
        view = colour.brightness(view, s.brightness)
    if s.contrast is not None:
        view = colour.contrast(view, s.contrast)
    if s.saturation is not None:
        view = colour.saturation(view, s.saturation)
    if s.hue is not None:
        view = colour.hue(view, s.hue)
    if s.gray is not None:
        view = colour.grayscale(view, s.gray)
    if s.kernels is not None:
        soft = gaussian_blur(view, s.kernels)
        view = soft if s.blurred is None else torch.where(s.blurred.view(-1, 1, 1, 1), soft, view)
    if s.solarized is not None:
        view = colour.solarize(view, s.solarized)
    return _standardise(view, mean, std)


def _in_unit_range(images: Tensor) -> Tensor:
    """float32, uint8's 255 as 1. What is float already is in [0, 1] by contract."""
    return images.to(torch.float32) if images.is_floating_point() else images.to(torch.float32).mul_(1 / 255)


def _standardise(values: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """In place. Raises ValueError if there are more or fewer numbers than channels."""
    channels = values.shape[1]
    for name, numbers in (("mean", mean), ("std", std)):
        if len(numbers) not in (1, channels):
            raise ValueError(
                f"{name} has {len(numbers)} numbers for images of {channels} channels: give {channels}, or 1 for all"
            )
    centre, scale = _statistics(mean, std, values.device)
    return values.sub_(centre).mul_(scale)


@lru_cache(maxsize=32)
def _statistics(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, C, 1, 1) each; kept on the device, because a copy from the host would make each step wait for it."""
    centre, spread = (torch.tensor(numbers, device=device).view(1, -1, 1, 1) for numbers in (mean, std))
    return centre, 1 / spread
