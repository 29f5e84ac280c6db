"""What the ranks of a distributed run tell each other. In a single process each of these is the identity.

Every rank must hold equally many rows. Nothing here waits on the host.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks, 1 when not distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Index of this process in the group, 0 when not distributed."""
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def gather(x: Tensor) -> Tensor:
    """Rows (N, ...) of all ranks in order of rank, as (world·N, ...), without gradient."""
    if world_size() == 1:
        return x.detach()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def mean_over_ranks(x: Tensor) -> Tensor:
    """The mean of all ranks' `x`, of one shape, without gradient."""
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


class _GatherWithGradient(torch.autograd.Function):
    """Forward: all-gather. Backward: each rank's rows get the sum of the gradients that all ranks have for them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = x.shape[0]
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = rank() * ctx.rows
        return total[start : start + ctx.rows]


def gather_with_gradient(x: Tensor) -> Tensor:
    """Rows (N, ...) of all ranks as (world·N, ...), with gradient to the rank that made them.

    With losses that are means over local rows and gradients that DistributedDataParallel averages over ranks, the result is
    the gradient of one process that sees the concatenated batch.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _GatherWithGradient.apply(x)
    return gathered


@torch.no_grad()
def shuffle(x: Tensor) -> tuple[Tensor, Tensor]:
    """Deal the rows (N, ...) of all ranks out anew, N to each, by a permutation that rank 0 draws.

    Returns this rank's new rows and the inverse permutation (world·N,), which `unshuffle` takes. In one process the rows are
    only permuted.
    """
    everything = gather(x)
    permutation = torch.randperm(everything.shape[0], device=x.device)
    if world_size() > 1:
        dist.broadcast(permutation, src=0)
    return everything[permutation.view(world_size(), -1)[rank()]], permutation.argsort()


@torch.no_grad()
def unshuffle(x: Tensor, inverse: Tensor) -> Tensor:
    """Undo `shuffle` on what was computed from its rows: (N, D) in dealt order to (N, D) in this rank's own order."""
    return gather(x)[inverse.view(world_size(), -1)[rank()]]
