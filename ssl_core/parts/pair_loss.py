"""Losses on similarities of pairs: each row holds the similarities of one query, `labels` says which one is the positive.

Shapes, everywhere: `similarities` (N, M), any float dtype; `labels` (N,) int64 in [0, M). Each loss is a scalar, the mean over
the N rows, in float32 or better. Where the negatives come from is the methods' business, and so is the unit sphere.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_core.parts.precision import at_least_float32

PairLossName = Literal["ce", "bce", "ip"]


def eqco_margin(alpha: float, negatives: int) -> float:
    """log(alpha / negatives): what EqCo (Zhu et al. 2020, arXiv:2010.01929) adds to each negative logit.

    The negatives' sum then weighs as `alpha` of them would, however many there are; 0 when there are exactly `alpha`.
    """
    if negatives < 1:
        raise ValueError(f"EqCo needs at least one negative, not {negatives}")
    return math.log(alpha / negatives)


def cross_entropy(similarities: Tensor, labels: Tensor, temperature: float, margin: float = 0.0) -> Tensor:
    """InfoNCE: mean of -log( exp(s⁺/T) / (exp(s⁺/T) + exp(margin)·Σ exp(s⁻/T)) ).

    The margin is taken off the positive's logit, which by the softmax's shift invariance is the same as adding it to every
    negative's, and the logarithm of the sum is never formed from its terms: finite for every dtype and temperature.
    """
    logits = at_least_float32(similarities) / temperature
    if margin:
        columns = labels.unsqueeze(1)
        logits = logits.scatter_add(1, columns, logits.new_full(columns.shape, -margin))
    return F.cross_entropy(logits, labels)


def binary_cross_entropy(similarities: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean over rows of softplus(-s⁺/T) + Σ softplus(s⁻/T): every pair is a yes-or-no question, summed over the row."""
    logits = at_least_float32(similarities) / temperature
    target = torch.zeros_like(logits).scatter(1, labels.unsqueeze(1), 1.0)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / logits.shape[0]


def inner_product(similarities: Tensor, labels: Tensor) -> Tensor:
    """Mean over rows of (1 - s⁺) + Σ (1 + s⁻). There is no temperature.

    With the positive alone and unit vectors this is 1 - mean⟨q, k⟩, half of BYOL's 2 - 2·mean⟨q, k⟩ = mean‖q - k‖².
    """
    values = at_least_float32(similarities)
    positive = values.gather(1, labels.unsqueeze(1)).squeeze(1)
    return (values.sum(dim=1) - 2 * positive).mean() + values.shape[1]


def pair_loss(
    similarities: Tensor,
    labels: Tensor,
    kind: PairLossName,
    temperature: float = 1.0,
    eqco_alpha: float | None = None,
    negatives: int = 0,
) -> Tensor:
    """The loss called `kind`; see the functions above. `negatives` is EqCo's count (only read when `eqco_alpha` is given)."""
    if eqco_alpha is not None and kind != "ce":
        raise ValueError(f"EqCo is a margin on cross-entropy ('ce'), not on {kind!r}")
    if kind == "ce":
        margin = eqco_margin(eqco_alpha, negatives) if eqco_alpha is not None else 0.0
        return cross_entropy(similarities, labels, temperature, margin)
    if kind == "bce":
        return binary_cross_entropy(similarities, labels, temperature)
    if kind == "ip":
        return inner_product(similarities, labels)
    raise ValueError(f"unknown loss {kind!r}; valid: ce, bce, ip")
