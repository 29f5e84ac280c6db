"""How a view is coloured: batched, each image with its own strength. Float RGB in [0, 1], (N, 3, H, W); strengths (N,).

Each function equals torchvision's of the same name on a single image; the tests compare them. None changes its input.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """images · factor, cut to [0, 1]."""
    return (images * _per_image(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or towards (below) the mean luma of the image."""
    means = images.flatten(2).mean(2)  # (N, 3)
    mean = (means * means.new_tensor(LUMA)).sum(1)
    return (images * _per_image(factor)).add_(_per_image(mean * (1 - factor))).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor above 1) or towards (below) the luma of each pixel; 0 is grayscale."""
    return (images * _per_image(factor)).add_(luma(images) * _per_image(1 - factor)).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """(N, 1, H, W)."""
    red, green, blue = images.unbind(1)
    gray = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return gray.unsqueeze(1)


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Luma in all three channels where `chosen`, bool (N,)."""
    return torch.lerp(images, luma(images), _per_image(chosen.to(images.dtype)))


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full circle, [-0.5, 0.5], keeping value and chroma: exactly through HSV, as torchvision."""
    red, green, blue = images.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    divisor = chroma.clamp(min=1e-12)  # a gray pixel has chroma 0, and any hue
    sixths = (red - green).div_(divisor).add_(4)  # where blue is the largest
    sixths = sixths.lerp_((blue - red).div_(divisor).add_(2), _as_float(torch.eq, value, green))
    sixths = sixths.lerp_((green - blue).div_(divisor), _as_float(torch.eq, value, red))
    sixths += 6 * shift.view(-1, 1, 1)
    sixths -= torch.floor(sixths / 6).mul_(6)  # [0, 6]
    base = value - chroma
    out = torch.empty_like(images)
    out[:, 0] = (sixths - 3).abs_().sub_(1).clamp_(0, 1).mul_(chroma).add_(base)
    out[:, 1] = (sixths - 2).abs_().neg_().add_(2).clamp_(0, 1).mul_(chroma).add_(base)
    out[:, 2] = (sixths - 4).abs_().neg_().add_(2).clamp_(0, 1).mul_(chroma).add_(base)
    return out


def solarize(images: Tensor, chosen: Tensor) -> Tensor:
    """1 - x for values of 0.5 and above, where `chosen`, bool (N,)."""
    return torch.lerp(images, 1 - images, _as_float(torch.ge, images, 0.5).mul_(_per_image(chosen)))


def gaussian_blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Blur with standard deviations `sigma` (N,) in pixels, at most `largest`; edges are mirrored.

    The kernel reaches 3·largest pixels to each side, rounded up (less in a small image). It is separable, and since each
    image has its own, each direction is one batched product with a band matrix.
    """
    count, channels, high, wide = images.shape
    radius = min(math.ceil(3 * largest), high - 1, wide - 1)
    steps = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma.unsqueeze(1)) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # (N, 2 radius + 1)
    rows = (weights @ _bands(high, radius, images.device)).view(count, high, high)
    columns = (weights @ _bands(wide, radius, images.device)).view(count, wide, wide)
    across = torch.bmm(images.reshape(count, channels * high, wide), columns).view(count, channels, high, wide)
    return torch.matmul(rows.transpose(1, 2).unsqueeze(1), across)


@lru_cache(maxsize=16)
def _bands(side: int, radius: int, device: torch.device) -> Tensor:
    """(2 radius + 1, side·side): for each tap, which pixel i goes into which pixel j, edges mirrored."""
    bands = torch.zeros(2 * radius + 1, side, side)
    for tap in range(2 * radius + 1):
        for j in range(side):
            i = abs(j + tap - radius)
            bands[tap, min(i, 2 * (side - 1) - i), j] += 1
    return bands.view(2 * radius + 1, side * side).to(device)


def _as_float(compare: Callable[..., Tensor], left: Tensor, right: Tensor | float) -> Tensor:
    """1.0 where the comparison holds, else 0.0. With `lerp`, whose ends are exact, it does the work of `torch.where`, which
    takes thirty times as long on a CPU."""
    return compare(left, right, out=torch.empty_like(left))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
