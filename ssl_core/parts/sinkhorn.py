"""Sinkhorn-Knopp (Cuturi 2013, arXiv:1306.0895): soft assignments that share the prototypes out evenly, as SwAV wants them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ssl_core.parts.gather import world_size
from ssl_core.parts.precision import at_least_float32


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Assignments (N, K) of the rows of `scores` (N, K): each row adds up to 1, each column to nearly N / K.

    Q = diag(u)·exp(scores / epsilon)·diag(v), the matrix that maximises Tr(Q·scoresᵀ) + epsilon·H(Q) over those with these sums
    (SwAV, arXiv:2006.09882, equation 3), after so many alternating normalisations: columns, then rows. Over ranks, columns are
    summed over all of them, so that each rank gets its rows of the one matrix; the ranks may hold different numbers of rows.

    The largest score is taken off first, which changes nothing but keeps exp finite at any epsilon. A column that is 0 in this
    precision stays 0. In float32 or better.
    """
    with torch.autocast(scores.device.type, enabled=False):
        scaled = at_least_float32(scores) / epsilon
        q = torch.exp(scaled - _over_ranks(scaled.max(), dist.ReduceOp.MAX))
        least = torch.finfo(q.dtype).tiny
        for _ in range(iterations):
            q = q / _over_ranks(q.sum(dim=0, keepdim=True), dist.ReduceOp.SUM).clamp_min(least)
            q = q / q.sum(dim=1, keepdim=True).clamp_min(least)
        return q


def _over_ranks(values: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
    if world_size() > 1:
        dist.all_reduce(values, op=how)
    return values
