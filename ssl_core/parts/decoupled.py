"""Decoupled contrastive learning: the positive is no longer among what it is told apart from (Yeh et al. 2021, arXiv:2110.06848).

In InfoNCE the gradient of a query is multiplied by 1 - p⁺, and vanishes as soon as its positive is easy to find, which with few
negatives it soon is. Without the positive in the denominator that factor is gone, and small batches do.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_core.parts.gather import gather, world_size
from ssl_core.parts.precision import at_least_float32


def decoupled_cross_entropy(similarities: Tensor, labels: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Mean over rows of -w·s⁺/T + log Σ exp(s⁻/T), the sum over negatives only (equation 6); w = 1 where no weights are given.

    similarities (N, M), M ≥ 2; labels (N,), the column of each row's positive; weights (N,).
    """
    logits = at_least_float32(similarities) / temperature
    columns = labels.unsqueeze(1)
    positive = logits.gather(1, columns).squeeze(1)
    negatives = logits.scatter(1, columns, -math.inf).logsumexp(dim=1)
    return (negatives - (positive if weights is None else weights * positive)).mean()


@torch.no_grad()
def mises_fisher_weights(positives: Tensor, sigma: float) -> Tensor:
    """w = 2 - exp(s⁺/σ) / mean exp(s⁺/σ), per pair: below 1 for pairs more alike than most, their mean is 1 (section 3.3).

    positives (G, N): similarities of the N pairs in each of G directions, each weighed among its own. Over ranks, the mean is
    that of all ranks' pairs. Without gradient.
    """
    scaled = at_least_float32(positives) / sigma
    everyone = gather(scaled.T.contiguous()).T  # (G, world·N)
    mean = everyone.logsumexp(dim=1, keepdim=True) - math.log(positives.shape[1] * world_size())
    return 2 - (scaled - mean).exp()
