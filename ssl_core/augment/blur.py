"""Gaussian blur, each image with its own standard deviation."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ssl_core.augment import separable


def gaussian_kernels(sigma: Tensor, largest: float, side: int) -> Tensor:
    """Weights exp(-k²/2σ²), k = -r … r, that add up to 1: float32 (N, 2r + 1) of `sigma` (N,) in pixels.

    All reach r = 3·`largest` pixels, rounded up; less in images of `side` px that are too small for it.
    """
    radius = min(math.ceil(3 * largest), side - 1)
    steps = torch.arange(-radius, radius + 1, device=sigma.device, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / sigma.unsqueeze(1)) ** 2)
    return weights / weights.sum(1, keepdim=True)


def gaussian_blur(images: Tensor, kernels: Tensor) -> Tensor:
    """x ← Σ over i, j of k[i]·k[j]·x shifted by (i, j): float32 (N, C, H, W) by `kernels` (N, 2r + 1), r < H, W.

    Edges are mirrored. Equals torchvision's gaussian_blur with kernel_size 2r + 1, to 1e-5; there the size is given, and the
    recipes give a tenth of the image (23 at 224 px), which is more than any σ of theirs reaches. Pillow's, which the
    reference implementations use, approximates a Gaussian by box blurs.

    On a CPU, sums of rows (see separable.py); elsewhere a product with a band matrix for each direction.
    """
    return separable.blur(images, kernels) if images.device.type == "cpu" else blur_by_bands(images, kernels)


def blur_by_bands(images: Tensor, kernels: Tensor) -> Tensor:
    """`gaussian_blur` as two batched products of matrices."""
    count, channels, high, wide = images.shape
    radius = kernels.shape[1] // 2
    rows = (kernels @ _bands(high, radius, images.device)).view(count, 1, high, high)
    columns = (kernels @ _bands(wide, radius, images.device)).view(count, wide, wide)
    across = torch.bmm(images.reshape(count, channels * high, wide), columns).view(count, channels, high, wide)
    return torch.matmul(rows.mT, across)


@lru_cache(maxsize=16)
def _bands(side: int, radius: int, device: torch.device) -> Tensor:
    """(2 radius + 1, side·side): for each tap, which pixel i goes into which pixel j, edges mirrored."""
    sources = separable.mirrored(side, radius)[0].T  # (2 radius + 1, side): i for each j
    bands = torch.zeros(2 * radius + 1, side, side).scatter_(1, sources.unsqueeze(1), 1.0)
    return bands.view(2 * radius + 1, side * side).to(device)
