"""LeJEPA: all views of an image have nearly the same output, and the outputs of all images are an isotropic Gaussian.

The Gaussian is what keeps the constant answer away: no negatives, no target network, no stop-gradient, no schedule. Whether
outputs are Gaussian is asked in many random directions (SIGReg), each by the test of Epps and Pulley, which compares
characteristic functions.

Balestriero and LeCun 2025, arXiv:2511.08544. Served: the encoder (there is one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.gather import world_size
from ssl_core.spec.methods_reconstruction import LeJEPAConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


class _SumOverRanks(torch.autograd.Function):
    """Forward: the sum of all ranks' x. Backward: the sum of all ranks' gradients, as each rank's loss depends on every x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def random_slices(dim: int, count: int, step: int, device: torch.device) -> Tensor:
    """Directions (dim, count) float32 of length 1, uniform on the sphere: a function of the step, the same on every rank."""
    generator = torch.Generator(device).manual_seed(step)
    return F.normalize(torch.randn(dim, count, generator=generator, device=device), dim=0)


def sigreg(z: Tensor, slices: Tensor, knots: int = 17, t_max: float = 3.0) -> Tensor:
    """How far the rows of each view in z (V, N, D) are from a standard Gaussian: a scalar, at least 0 (section 4 of the paper).

    With x = z @ slices (D, S) and φ its empirical characteristic function over the N rows of all ranks, the statistic of Epps
    and Pulley is N·∫ |φ(t) - exp(-t²/2)|²·exp(-t²/2) dt over [-t_max, t_max], by the trapezoidal rule; its mean over views
    and slices. The integrand is even, so only `knots` points from 0 on are looked at, and count twice.
    """
    t = torch.linspace(0, t_max, knots, dtype=z.dtype, device=z.device)
    gaussian = torch.exp(-t.square() / 2)
    weights = torch.full_like(t, 2 * t_max / (knots - 1))
    weights[0] = weights[-1] = t_max / (knots - 1)
    angles = (z @ slices.to(z.dtype)).unsqueeze(-1) * t  # (V, N, S, knots)
    waves = torch.stack([angles.cos().sum(dim=1), angles.sin().sum(dim=1)])  # (2, V, S, knots): real and imaginary parts
    rows = z.shape[1]
    if world_size() > 1:
        waves, rows = _SumOverRanks.apply(waves), rows * world_size()
    real, imaginary = waves / rows
    gap = (real - gaussian).square() + imaginary.square()
    statistic: Tensor = rows * (gap @ (weights * gaussian)).mean()
    return statistic


def invariance(z: Tensor, global_views: int) -> Tensor:
    """Mean squared difference of all views z (V, N, D) from the mean of the first `global_views` of them."""
    return (z - z[:global_views].mean(dim=0)).square().mean()


class LeJEPA(Method):
    """Loss: λ·SIGReg + (1 - λ)·invariance, both over all views, local ones included. The parts carry their weights."""

    config: LeJEPAConfig

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The two global views one after the other, all local views in one pass; new directions in each step."""
        config, (view_a, view_b, *local) = self.config, batch.views
        out_a, out_b = self.branches.query(view_a), self.branches.query(view_b)
        outputs = [out_a.query, out_b.query]
        if local:
            outputs += self.branches.query(torch.cat(local)).query.chunk(len(local))
        z = torch.stack(outputs)
        with torch.autocast(z.device.type, enabled=False):
            slices = random_slices(z.shape[2], config.slices, batch_idx, z.device)
            parts = {
                "loss_sigreg": config.sigreg_weight * sigreg(z, slices, config.knots, config.t_max),
                "loss_invariance": (1 - config.sigreg_weight) * invariance(z, 2),
            }
        loss = torch.stack(list(parts.values())).sum()
        return self.report(loss, **parts, **self.watch_cosines([Direction(out_a, out_b.query)]))
