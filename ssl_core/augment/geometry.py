"""Where a view looks: random resized crops, flips and affine maps, all in one pass over the pixels.

Coordinates are those of `torch.nn.functional.grid_sample` with align_corners=False: the square image reaches from -1 to 1 in
x and y, pixel j of s has its centre at (2j + 1)/s - 1. A map (N, 2, 3) leads from a point of the view to a point of the image.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10  # as torchvision's RandomResizedCrop


def crop_boxes(
    area: Tensor, ratio: Tensor, left: Tensor, top: Tensor, scale_range: tuple[float, float], ratio_range: tuple[float, float]
) -> Tensor:
    """Boxes (N, 4) = left, top, width, height, as shares of the side of a square image.

    All inputs are uniform in [0, 1): `area` and `ratio` (tries, N), `left` and `top` (N,). The distribution is that of
    torchvision's RandomResizedCrop: area uniform, aspect ratio log-uniform, the first of the tries that fits, else the
    largest central box of an allowed ratio. There is one difference: torchvision rounds boxes to whole pixels.
    """
    low, high = (math.log(bound) for bound in ratio_range)
    areas = scale_range[0] + area * (scale_range[1] - scale_range[0])
    roots = torch.exp((low + ratio * (high - low)) / 2)  # square roots of the ratios
    sides = areas.sqrt()
    width, height = sides * roots, sides / roots
    fits = (width <= 1) & (height <= 1)
    first = fits.to(torch.uint8).argmax(0, keepdim=True)
    some = fits.any(0)
    square = min(max(1.0, ratio_range[0]), ratio_range[1])
    width = torch.where(some, width.gather(0, first)[0], min(1.0, square))
    height = torch.where(some, height.gather(0, first)[0], min(1.0, 1 / square))
    left, top = (torch.where(some, at, 0.5) for at in (left, top))
    return torch.stack([left * (1 - width), top * (1 - height), width, height], 1)


def box_maps(boxes: Tensor, flip_x: Tensor, flip_y: Tensor) -> Tensor:
    """Maps (N, 2, 3) that show `boxes` (N, 4), mirrored left to right or upside down where the bool tensors (N,) say so."""
    left, top, width, height = boxes.unbind(1)
    zero = torch.zeros_like(left)
    x = torch.stack([torch.where(flip_x, -width, width), zero, 2 * left + width - 1], 1)
    y = torch.stack([zero, torch.where(flip_y, -height, height), 2 * top + height - 1], 1)
    return torch.stack([x, y], 1)


def affine_maps(degrees: Tensor, shift_x: Tensor, shift_y: Tensor, shear: Tensor) -> Tensor:
    """Maps (N, 2, 3) of a picture that is sheared along x, turned clockwise and then shifted, as torchvision's `affine`.

    `degrees` and `shear` (N,) in degrees; shifts (N,) as shares of the side, to the right and down.
    """
    angle, slope = torch.deg2rad(degrees), torch.tan(torch.deg2rad(shear))
    cos, sin = torch.cos(angle), torch.sin(angle)
    # From the view back to the image: undo the shift, the rotation, the shear.
    a, b = cos - slope * sin, sin + slope * cos
    x = torch.stack([a, b, -2 * (a * shift_x + b * shift_y)], 1)
    y = torch.stack([-sin, cos, -2 * (cos * shift_y - sin * shift_x)], 1)
    return torch.stack([x, y], 1)


def after(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that applies `inner` first, then `outer`: (N, 2, 3)."""
    linear = outer[:, :, :2]
    together = (linear.unsqueeze(3) * inner.unsqueeze(1)).sum(2)  # not matmul: these are 2×2, and must stay float32
    together[:, :, 2] += outer[:, :, 2]
    return together


def halvings(side: int, size: int, scale_range: tuple[float, float], ratio_range: tuple[float, float]) -> int:
    """How often images of `side` px can be halved before the largest possible crop has less than `size` px."""
    largest = min(1.0, math.sqrt(scale_range[1] * max(ratio_range[1], 1 / ratio_range[0])))
    times = 0
    while (side >> times) * largest >= 2 * size:
        times += 1
    return times


def halved(images: Tensor, times: int) -> Tensor:
    """Float images (N, C, S, S) with 2×2 pixels averaged to one, `times` times."""
    for _ in range(times):
        images = F.avg_pool2d(images, 2)
    return images


def sample(images: Tensor, maps: Tensor, size: int, fill: bool) -> Tensor:
    """Float images (N, C, S, S) seen through maps (N, 2, 3): (N, C, size, size), bilinear.

    Points beyond the edge take the nearest pixel's value; with `fill`, those outside of the image are 0 (needed only if
    the maps can look outside).
    """
    centres = _centres(size, images.device)
    x, y = centres.view(1, 1, size), centres.view(1, size, 1)
    coefficients = maps.view(-1, 6, 1, 1)
    grid = torch.empty((len(maps), size, size, 2), device=images.device)
    for axis in (0, 1):
        along_x, along_y, shift = (coefficients[:, 3 * axis + i] for i in range(3))
        torch.add(along_x * x, along_y * y + shift, out=grid[..., axis])
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if fill:
        views *= (grid.abs().amax(3) <= 1).unsqueeze(1)
    return views


@lru_cache(maxsize=16)
def _centres(size: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(size, device=device, dtype=torch.float32) + 1) / size - 1
