"""Convolutions whose stride is larger than the map that they get, as the last ones of a ResNet do on very small images and views.

The border of such a kernel never meets an image, so its gradient is 0. oneDNN's bfloat16 kernels do not write it: what comes
back there is whatever was in that memory, 10³⁵ or NaN as well (torch 2.15 on a CPU; `tests/ssl_core/parts/test_small_maps.py` has
the case). Its float32 kernels are right, and on a map of so few pixels cost nothing.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ssl_core.parts.ws import WSConv2d


class _InFloat32(nn.Conv2d):
    """Leaves bfloat16 where the map is smaller than the stride."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if torch.is_autocast_enabled("cpu") and any(a < b for a, b in zip(input.shape[2:], self.stride, strict=True)):
            with torch.autocast("cpu", enabled=False):
                return cast(Tensor, super()._conv_forward(input.float(), weight.float(), bias))
        return cast(Tensor, super()._conv_forward(input, weight, bias))


class _Conv2d(_InFloat32):
    pass


class _WSConv2d(_InFloat32, WSConv2d):
    pass


_GUARDED: dict[type[nn.Conv2d], type[_InFloat32]] = {nn.Conv2d: _Conv2d, WSConv2d: _WSConv2d}


def guard_small_maps(network: nn.Module) -> None:
    """Give every convolution with a stride its right gradients on maps that are smaller than the stride.

    Names, shapes and values of its parameters stay.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and type(module) in _GUARDED and max(module.stride) > 1:
            module.__class__ = _GUARDED[type(module)]
