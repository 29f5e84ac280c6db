"""What travels from the data to the method."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class RawBatch(NamedTuple):
    """Images as they are kept: `images` uint8 (N, 3, S, S), `index` int64 (N,), the images' numbers in their store."""

    images: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody wants here


class Batch(NamedTuple):
    """What a method trains on: the views, float (N, 3, s, s) each, normalised, and the images' numbers, int64 (N,)."""

    views: tuple[Tensor, ...]
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody wants here
