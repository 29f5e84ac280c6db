"""Two losses at the same inputs: how far they and their gradients are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[..., Tensor]  # of the outputs (N, D) of both views

SHAPES = ((2, 3), (5, 8), (16, 4), (33, 64))  # (n, d), below and above each other
SEEDS = (0, 1, 2)
TEMPERATURE = 0.2


class Errors(NamedTuple):
    """The largest absolute differences."""

    value: float
    gradient: float


def draw(rows: Sequence[int], d: int, seed: int) -> list[Tensor]:
    """Random float64 tensors (rows, d), one for each number of rows."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) for n in rows]


def compare(ours: Loss, theirs: Loss, inputs: Sequence[Tensor]) -> Errors:
    """Both scalar functions at the same inputs, and their gradients with respect to each input."""
    values, gradients = [], []
    for loss in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        value = loss(*leaves)
        gradients.append(torch.cat([each.flatten() for each in torch.autograd.grad(value.sum(), leaves)]))
        values.append(float(value.detach().sum()))
    return Errors(abs(values[0] - values[1]), float((gradients[0] - gradients[1]).abs().max()))


def unit(x: Tensor) -> Tensor:
    """Rows of length 1; lightly's losses normalise inside."""
    return F.normalize(x, dim=1)
