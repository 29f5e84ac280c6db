"""How a view is coloured: pure functions of float images (N, C, H, W) in [0, 1], each image with its own strength, (N,).

On one image each equals torchvision's function of the same name on a float tensor, to 1e-5 or better, where C is 3 (or 1); the
tests compare them. torchvision on PIL images rounds to 256 levels after each operation. None changes its input.

Brightness, contrast and solarise treat every channel alike. Saturation, hue and grayscale are defined for red, green and blue
only, and return images with another number of channels as they are: what a fourth channel would be (opacity, infrared,
black ink) is not known, and one channel has no colour to change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # ITU-R 601-2, as torchvision and Pillow round it


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """x ← min(f·x, 1)."""
    return (images * _per_image(factor)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """x ← f·x + (1 - f)·m, cut to [0, 1]: m is the image's mean luma, or its mean over all channels where C is not 3.

    torchvision knows 1 and 3 channels, and is equal there; on PIL images it rounds m to a whole level.
    """
    means = images.mean((2, 3))  # (N, C)
    weights = _luma(means.device) if means.shape[1] == 3 else 1 / means.shape[1]
    mean = (means * weights).sum(1)
    return (images * _per_image(factor)).add_(_per_image(mean - mean * factor)).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """x ← f·x + (1 - f)·y, cut to [0, 1], with y the pixel's luma: 0 makes it gray. RGB only."""
    if images.shape[1] != 3:
        return images
    return torch.lerp(luma(images), images, _per_image(factor)).clamp_(0, 1)


def luma(images: Tensor) -> Tensor:
    """0.2989·R + 0.587·G + 0.114·B: (N, 1, H, W) of (N, 3, H, W)."""
    red, green, blue = images.unbind(1)
    gray = (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])
    return gray.unsqueeze(1)


def grayscale(images: Tensor, chosen: Tensor) -> Tensor:
    """Luma in all three channels where `chosen`, bool (N,). RGB only."""
    if images.shape[1] != 3:
        return images
    return torch.lerp(images, luma(images), _per_image(chosen.to(images.dtype)))


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` of a full circle, [-0.5, 0.5], keeping value and chroma: torchvision's way through HSV. RGB only.

    With V, m the largest and the smallest of R, G, B, and C = V - m, the hue h, in sixths of the circle from red, is
    ±(G + B - R + V - 2m)/C with the sign of G - B; and a channel whose own hue is c (0, 2, 4) gets, at a hue h within ±6 of c,
    m + clamp(||h - c|| - 3| - 1, 0, 1)·C. Both are multiplied by C here, so that nothing is divided.
    """
    if images.shape[1] != 3:
        return images
    red, green, blue = images.unbind(1)
    high, low = torch.maximum(green, blue), torch.minimum(green, blue)
    high, low = torch.maximum(high, red, out=high), torch.minimum(low, red, out=low)
    chroma = high - low
    angle = (green + blue).sub_(red).add_(chroma).sub_(low)  # |h|·C
    turn = (6 * shift).unsqueeze(1) - _own_hues(shift.device)  # (N, 3)
    turn -= 6 * torch.round(turn / 6)  # h is within ±3, and so h + turn within ±6
    out = torch.copysign(chroma, green - blue).unsqueeze(1) * turn.view(-1, 3, 1, 1)
    out += angle.unsqueeze(1)
    out.abs_().sub_((3 * chroma).unsqueeze(1)).abs_().add_((low - chroma).unsqueeze(1))
    return torch.clamp(out, low.unsqueeze(1), high.unsqueeze(1), out=out)


def solarize(images: Tensor, chosen: Tensor) -> Tensor:
    """1 - x for values of 0.5 and above, where `chosen`, bool (N,)."""
    return torch.lerp(images, 1 - images, _as_float(torch.ge, images, 0.5).mul_(_per_image(chosen)))


def _as_float(compare: Callable[..., Tensor], left: Tensor, right: Tensor | float) -> Tensor:
    """1.0 where the comparison holds, else 0.0. With `lerp`, whose ends are exact, it does the work of `torch.where`, which
    takes thirty times as long on a CPU."""
    return compare(left, right, out=torch.empty_like(left))


def _per_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


# Constants stay on the device: a tensor made of Python's numbers is copied from the host each time.


@lru_cache(maxsize=16)
def _luma(device: torch.device) -> Tensor:
    return torch.tensor(LUMA, device=device)


@lru_cache(maxsize=16)
def _own_hues(device: torch.device) -> Tensor:
    """Of red, green and blue, in sixths of the circle."""
    return torch.tensor([[0.0, 2.0, 4.0]], device=device)
