"""Batch renormalisation (Ioffe 2017, arXiv:1702.03275): batch norm that depends less and less on the batch.

Trained with batch norm's statistics at first; then corrected towards the running ones by r and d, which are constants to the
gradient and bounded by limits that loosen with the number of steps: r in [1/r_max, r_max], d in [-d_max, d_max].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BatchRenorm1d(nn.Module):
    """Normalise each of `features` columns of (N, features).

    Limits as in the paper's section 4.1: plain batch norm (r_max 1, d_max 0) for 5,000 steps, then r_max grows to 3 by step
    40,000 and d_max to 5 by step 25,000. `epsilon` is added to the deviation, as the implementation behind the BYOL blog post
    does; the paper puts one under its root. Running statistics move by `momentum` per step.
    """

    running_mean: Tensor  # (features,)
    running_std: Tensor  # (features,), epsilon included
    num_batches_tracked: Tensor  # () int64

    def __init__(self, features: int, epsilon: float = 1e-3, momentum: float = 0.01) -> None:
        super().__init__()
        self.epsilon, self.momentum = epsilon, momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_std", torch.ones(features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def limits(self) -> tuple[Tensor, Tensor]:
        """r_max in [1, 3] and d_max in [0, 5] at the present step, as scalars on the device."""
        step = self.num_batches_tracked.to(self.running_mean.dtype)
        return (1 + (step - 5_000) * 2 / 35_000).clamp(1, 3), ((step - 5_000) * 5 / 20_000).clamp(0, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, features) to (N, features); the statistics are taken in float32 or better."""
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"expected shape (N, {self.weight.shape[0]}), got {tuple(x.shape)}")
        values = x.to(torch.promote_types(x.dtype, self.running_mean.dtype))
        normalised = self._train(values) if self.training else (values - self.running_mean) / self.running_std
        return (self.weight * normalised + self.bias).to(x.dtype)

    def _train(self, x: Tensor) -> Tensor:
        mean, std = x.mean(dim=0), x.std(dim=0, correction=0) + self.epsilon
        with torch.no_grad():
            r_max, d_max = self.limits()
            r = torch.clamp(std / self.running_std, 1 / r_max, r_max)
            d = torch.clamp((mean - self.running_mean) / self.running_std, -d_max, d_max)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_std.lerp_(std.to(self.running_std.dtype), self.momentum)
            self.num_batches_tracked.add_(1)
        return (x - mean) / std * r + d
