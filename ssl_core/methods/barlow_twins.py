"""Barlow Twins: output dimension i must say the same of both views, and no two dimensions the same thing.

Standardise the outputs of each view over the batch; their cross-correlation C should be the identity matrix. No negatives, no
target network, no predictor; the wider the output, the better.

Zbontar et al. 2021, arXiv:2103.03230, equations 1 and 2, algorithm 1. Served: the encoder (there is one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ssl_core.methods.base import Method
from ssl_core.parts.gather import gather_with_gradient
from ssl_core.parts.precision import at_least_float32
from ssl_core.spec.methods_siamese import BarlowTwinsConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch

EPSILON = 1e-5  # added to the variance, as the authors' batch norm does


class Terms(NamedTuple):
    """The two terms, scalars, before the weight λ of the second."""

    invariance: Tensor
    redundancy: Tensor


def standardise(z: Tensor) -> Tensor:
    """Columns of z (N, D) with mean 0 and variance 1 over the N rows (the variance with 1 / N)."""
    return (z - z.mean(dim=0)) / torch.sqrt(z.var(dim=0, correction=0) + EPSILON)


def barlow_twins_terms(a: Tensor, b: Tensor) -> Terms:
    """Σ (1 - Cᵢᵢ)² and Σ over i ≠ j of Cᵢⱼ², with C = AᵀB / N (D, D) of the standardised outputs a and b (N, D), N ≥ 2.

    Over ranks, C is that of every rank's rows. ‖AᵀB‖² = Σ AAᵀ ∘ BBᵀ, so where N < D, C itself is never made: two N×N products
    do for 256 images in 8192 dimensions.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = (standardise(gather_with_gradient(at_least_float32(z))) for z in (a, b))
        n, d = a.shape
        diagonal = (a * b).sum(dim=0) / n  # (D,)
        squares = ((a @ a.T) * (b @ b.T)).sum() if n < d else (a.T @ b).square().sum()
        return Terms((1 - diagonal).square().sum(), squares / n**2 - diagonal.square().sum())


class BarlowTwins(Method):
    """Loss: invariance + λ·redundancy. The parts are reported with their weights and so add up to the loss."""

    config: BarlowTwinsConfig

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One direction suffices: swapping the views transposes C. Two views, and no local ones."""
        view_a, view_b = batch.views
        directions = self.branches.directions(view_a, view_b, symmetric=False)
        out, keys = directions[0]
        terms = barlow_twins_terms(out.query, keys)
        redundancy = self.config.redundancy_weight * terms.redundancy
        parts = {"loss_invariance": terms.invariance, "loss_redundancy": redundancy}
        return self.report(terms.invariance + redundancy, **parts, **self.watch_cosines(directions))
