"""Crops and blurs on a CPU: sums of rows, then sums of columns.

A resampling that is a product of one along x and one along y needs no two-dimensional gather: each row of the result is a
weighted sum of a few rows of the image, and the same again of the transposed image. Sums of rows are what an embedding bag
is, for which PyTorch has vectorised code: it takes half the time of `grid_sample`, and a quarter of a convolution's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Taps(NamedTuple):
    """Along one axis: which pixels of an image each pixel of the view is made of, and their shares."""

    pixels: Tensor  # int64 (N or 1, size, T)
    shares: Tensor  # float32 (N, size or 1, T)

    def of(self, part: slice) -> Taps:
        """Those of some of the images."""
        return Taps(self.pixels[part], self.shares[part])

    def after(self, starts: list[int]) -> Taps:
        """The same in images whose first `starts` pixels, (N,), are cut off."""
        return Taps(self.pixels - torch.tensor(starts).view(-1, 1, 1), self.shares)


def linear_taps(start: Tensor, length: Tensor, flip: Tensor, side: int, size: int) -> Taps:
    """Bilinear sampling of `size` points, evenly from `start` (N,) over `length` (N,), as shares of a side of `side` ≥ 2 px.

    Backwards where `flip`, bool (N,). Points beyond the middle of the outermost pixels take those pixels' values.
    """
    start, length = torch.where(flip, start + length, start) * side, torch.where(flip, -length, length) * side
    at = torch.addcmul((start - 0.5).unsqueeze(1), length.unsqueeze(1), _centres(size)).clamp_(0, side - 1)
    first = at.floor().clamp_(max=side - 2)
    share = at - first
    return Taps(first.long().unsqueeze(2) + _pair(), torch.stack([1 - share, share], 2))


def sum_rows(images: Tensor, taps: Taps) -> Tensor:
    """Each row of the view a weighted sum of rows of the image, all channels alike: float32 (N, C, H, W) → (N, C, size, W)."""
    count, channels, high, wide = images.shape
    width = taps.pixels.shape[-1]
    index = _planes(count, channels, high) + taps.pixels.unsqueeze(1)  # (N, C, size, T), rows of all planes
    shares = taps.shares.unsqueeze(1).expand_as(index).reshape(-1, width)
    rows = images.reshape(-1, wide)
    summed: Tensor = F.embedding_bag(index.view(-1, width), rows, mode="sum", per_sample_weights=shares)
    return summed.view(count, channels, -1, wide)


def resample(images: Tensor, down: Taps, across: Taps) -> Tensor:
    """Rows by `down`, then columns by `across`: float32 (N, C, H, W) → (N, C, size, size), transposed in memory."""
    return sum_rows(transposed(sum_rows(images, down)), across).mT


def blur(images: Tensor, kernels: Tensor) -> Tensor:
    """Weighted sums of 2r + 1 pixels along x and along y by `kernels` (N, 2r + 1), edges mirrored: float32 (N, C, H, W)."""
    high, wide = images.shape[-2:]
    shares, radius = kernels.unsqueeze(1), kernels.shape[1] // 2
    across = sum_rows(transposed(images), Taps(mirrored(wide, radius), shares))
    return sum_rows(transposed(across), Taps(mirrored(high, radius), shares))


def transposed(images: Tensor) -> Tensor:
    """(N, C, W, H) of (N, C, H, W), each row in one piece: a copy unless the image is transposed in memory already."""
    return images.mT.contiguous()


@lru_cache(maxsize=16)
def mirrored(side: int, radius: int) -> Tensor:
    """(1, side, 2 radius + 1): the pixels around each pixel, those beyond the edge mirrored."""
    near = (torch.arange(side).unsqueeze(1) + torch.arange(-radius, radius + 1)).abs_()
    return torch.minimum(near, 2 * (side - 1) - near).unsqueeze(0)


@lru_cache(maxsize=64)
def _planes(count: int, channels: int, high: int) -> Tensor:
    return torch.arange(0, count * channels * high, high).view(count, channels, 1, 1)


@lru_cache(maxsize=16)
def _centres(size: int) -> Tensor:
    return (torch.arange(size, dtype=torch.float32) + 0.5) / size


@lru_cache(maxsize=1)
def _pair() -> Tensor:
    return torch.arange(2)
