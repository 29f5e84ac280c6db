"""VICReg: bring the two views together, keep every output dimension spread over the batch and uncorrelated with the others.

No negatives, no target network: the variance term forbids the constant answer, the covariance term the redundant one.

Bardes et al. 2021, arXiv:2105.04906. Served: the encoder (there is one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.parts.gather import gather_with_gradient
from ssl_core.parts.precision import at_least_float32
from ssl_core.spec.methods import VICRegConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


class Terms(NamedTuple):
    """The three terms, scalars, before their weights."""

    invariance: Tensor
    variance: Tensor
    covariance: Tensor


def variance_hinge(z: Tensor, epsilon: float) -> Tensor:
    """Mean over the D columns of max(0, 1 - sqrt(var + epsilon)), with z (N, D) and the unbiased variance over the N rows."""
    return F.relu(1 - torch.sqrt(z.var(dim=0) + epsilon)).mean()


def covariance_penalty(z: Tensor) -> Tensor:
    """Sum of the squared off-diagonal entries of the covariance of z (N, D), with 1 / (N - 1), divided by D.

    ‖ZᵀZ‖ = ‖ZZᵀ‖ (Frobenius), so the smaller of the two products is made: N×N for 256 images in 8192 dimensions.
    """
    n, d = z.shape
    z = z - z.mean(dim=0)
    product = z @ z.T if n < d else z.T @ z
    diagonal = z.square().sum(dim=0)  # (D,), of ZᵀZ
    return (product.square().sum() - diagonal.square().sum()) / ((n - 1) ** 2 * d)


def vicreg_terms(a: Tensor, b: Tensor, epsilon: float = 1e-4, variance_term: Literal["paper", "reference"] = "paper") -> Terms:
    """The terms for the views' outputs a and b, (N, D) each, N ≥ 2.

    invariance: mean squared difference. variance: the hinges of both views, averaged ("paper", as in the authors' code) or
    added ("reference"). covariance: the penalties of both views, added. Over ranks, the last two see every rank's rows.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = at_least_float32(a), at_least_float32(b)
        invariance = F.mse_loss(a, b)
        a, b = gather_with_gradient(a), gather_with_gradient(b)
        variance = variance_hinge(a, epsilon) + variance_hinge(b, epsilon)
        if variance_term == "paper":
            variance = variance / 2
        return Terms(invariance, variance, covariance_penalty(a) + covariance_penalty(b))


class VICReg(Method):
    """Loss: the weighted sum of the three terms. The parts are reported with their weights and so add up to the loss."""

    config: VICRegConfig
    scale_matters = True

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One direction suffices: with a shared network the loss is the same both ways. Two views, and no local ones."""
        config = self.config
        view_a, view_b = batch.views
        directions = self.branches.directions(view_a, view_b, symmetric=False)
        out, keys = directions[0]
        terms = vicreg_terms(out.query, keys, config.variance_epsilon, config.variance_term)
        parts = {
            "loss_invariance": config.invariance_weight * terms.invariance,
            "loss_variance": config.variance_weight * terms.variance,
            "loss_covariance": config.covariance_weight * terms.covariance,
        }
        return self.report(torch.stack(list(parts.values())).sum(), **parts, **self.watch_cosines(directions))
