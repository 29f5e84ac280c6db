"""Weight standardisation (Qiao et al. 2019, arXiv:1903.10520): layers that normalise their weights before they use them.

Each output unit's weights get mean 0 and standard deviation 1 over its fan-in. The layer's output therefore does not change
when a unit's weights are shifted or scaled by a positive factor, which smooths the loss much as batch normalisation does
but without looking at the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-5


def standardize(weight: Tensor, epsilon: float = EPSILON) -> Tensor:
    """Return `weight` (out, ...) with mean 0 and standard deviation 1 within each output unit; same shape and dtype.

    As in the authors' code, the deviation is the unbiased one and `epsilon` is added to it, so that constant weights become
    0 and not NaN. A unit with one single weight has no spread: its weight becomes 0. Works in float32 at least, because the
    statistics of a wide layer are too coarse in half precision.
    """
    if weight.ndim < 2:
        raise ValueError(f"weight has shape {tuple(weight.shape)}; it needs (out, in, ...)")
    flat = weight.flatten(1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    centred = flat - flat.mean(dim=1, keepdim=True)
    # sqrt has an infinite slope at 0: the smallest normal number below the root keeps the gradient of constant weights finite.
    variance = centred.square().sum(dim=1, keepdim=True) / max(flat.shape[1] - 1, 1)
    deviation = (variance + torch.finfo(flat.dtype).tiny).sqrt()
    return (centred / (deviation + epsilon)).view_as(weight).to(weight.dtype)


class WSConv2d(nn.Conv2d):
    """A Conv2d that standardises its weight over (in, height, width) on every forward; parameters are those of Conv2d."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H', W')."""
        output: Tensor = self._conv_forward(input, standardize(self.weight), self.bias)
        return output


class WSLinear(nn.Linear):
    """A Linear that standardises its weight over the inputs on every forward; parameters are those of Linear."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return F.linear(input, standardize(self.weight), self.bias)
