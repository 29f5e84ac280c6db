"""On a CPU a batch is worked on in chunks: images to which the same operations are done, as many as its cache holds.

So nothing is computed for images that are not chosen, nothing is masked, and each operation finds in the cache what the one
before it wrote. Of large images only the pixels that a view looks at are converted to float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_core.augment import draw, geometry
from ssl_core.augment.draw import Look, Strengths
from ssl_core.augment.separable import Taps, linear_taps, resample
from ssl_core.spec import ViewConfig

CACHED = 2**18  # numbers in a chunk, 1 MiB of float32: below that, calls cost more than the cache saves (measured)
FEW = 16  # images in a chunk, up to which a copy for each of them costs less than one more pass over all the views
LARGE = 64  # px, from which it pays to cut out what is looked at before it is converted


def in_chunks(
    images: Tensor, config: ViewConfig, size: int, random: Tensor, finish: Callable[[Tensor, Strengths], Tensor]
) -> Tensor:
    """One view of each image: float32 (N, C, size, size), channels last in memory; see `ssl_core.augment.make_view`.

    `finish` does to crops, float32 (n, C, size, size) in [0, 1], what their strengths say.
    """
    count, channels = images.shape[:2]
    order, groups = _sorted(draw.choices(config, random))
    random = random.index_select(1, order)
    strengths = draw.strengths(config, size, random)
    crop = _Crop(images, order, draw.look(config, random), size, config)
    most = max(1, CACHED // (channels * size**2))
    views = torch.empty((count, size, size, channels))
    for group in groups:
        for places in group.parts(most):
            chunk = finish(crop(places), strengths.of(places, group.chosen)).permute(0, 2, 3, 1)
            if most <= FEW:
                for number, view in zip(crop.numbers[places], chunk, strict=True):
                    views[number] = view
            else:
                views[places] = chunk
    if most > FEW:
        views = views.view(count, -1).index_select(0, order.argsort()).view(views.shape)
    return views.permute(0, 3, 1, 2)


class _Group(NamedTuple):
    """Neighbours in the sorted batch, and the choices that fell on all of them."""

    start: int
    stop: int
    chosen: list[bool]

    def parts(self, most: int) -> Iterator[slice]:
        """Their places, at most `most` at once."""
        for start in range(self.start, self.stop, most):
            yield slice(start, min(start + most, self.stop))


def _sorted(choices: list[Tensor]) -> tuple[Tensor, list[_Group]]:
    """The numbers of N images, int64 (N,), sorted by `choices`, bool (N,) each, and the groups in that order."""
    code = torch.zeros_like(choices[0], dtype=torch.int64)
    for bit, chosen in enumerate(choices):
        code += chosen.long() << bit
    order = code.argsort(stable=True)
    groups, start = [], 0
    for each, length in enumerate(code.bincount().tolist()):
        if length:
            groups.append(_Group(start, start + length, [bool(each >> bit & 1) for bit in range(len(choices))]))
        start += length
    return order, groups


class _Crop:
    """Cuts views out of a batch's images. `order` are the images' numbers, and `look` says where, in that order."""

    def __init__(self, images: Tensor, order: Tensor, look: Look, size: int, config: ViewConfig) -> None:
        self.images, self.order, self.size = images, order, size
        self.numbers: list[int] = order.tolist()
        self.scale = 1.0 if images.is_floating_point() else 1 / 255
        self.maps = None if look.moves is None else look.maps()
        self.halvings = geometry.halvings(images.shape[-1], size, config.crop_scale, config.crop_ratio)
        side = images.shape[-1] >> self.halvings
        left, top, width, height = look.boxes.unbind(1)
        self.down = linear_taps(top, height, look.flip_y, side, size)
        self.across = linear_taps(left, width, look.flip_x, side, size)
        self.down.shares.mul_(self.scale)
        self.cuts = side >= LARGE and self.halvings == 0 and self.maps is None
        if self.cuts:
            self.rows, self.columns = _Ends(self.down), _Ends(self.across)

    def __call__(self, places: slice) -> Tensor:
        """float32 (n, C, size, size) of values in [0, 1]."""
        down, across = self.down.of(places), self.across.of(places)
        if self.cuts:
            side = self.images.shape[-1]
            (tops, high), (lefts, wide) = self.rows.window(places, side), self.columns.window(places, side)
            if len(tops) == 1 or 2 * high * wide < side**2:
                pixels = self._windows(places, tops, lefts, high, wide)
                return resample(pixels, down.after(tops), across.after(lefts))
        pixels = self.images.index_select(0, self.order[places]).to(torch.float32)
        pixels = geometry.halved(pixels, self.halvings)
        if self.maps is not None:
            return geometry.sample(pixels.mul_(self.scale), self.maps[places], self.size, fill=True)
        return resample(pixels, down, across)

    def _windows(self, places: slice, tops: list[int], lefts: list[int], high: int, wide: int) -> Tensor:
        """Windows of equal size out of these images, as float32."""
        pixels = torch.empty((len(tops), self.images.shape[1], high, wide))
        for window, number, top, left in zip(pixels, self.numbers[places], tops, lefts, strict=True):
            window.copy_(self.images[number, :, top : top + high, left : left + wide])
        return pixels


class _Ends:
    """The first and the last pixel that each view looks at, along one axis."""

    def __init__(self, taps: Taps) -> None:
        self.first: list[int] = taps.pixels.amin((1, 2)).tolist()
        self.last: list[int] = taps.pixels.amax((1, 2)).tolist()

    def window(self, places: slice, side: int) -> tuple[list[int], int]:
        """Where windows of one length start that hold all that these views look at, within `side` px; and that length."""
        ends = list(zip(self.first[places], self.last[places], strict=True))
        length = 1 + max(last - first for first, last in ends)
        return [min(first, side - length) for first, _ in ends], length
