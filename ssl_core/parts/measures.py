"""What is watched while a method trains: accuracy of the contrastive task, cosines of positive and negative pairs.

All on the device and without gradient; nothing here waits for the accelerator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_core.parts.precision import at_least_float32, paired_similarity


@torch.no_grad()
def contrast_accuracy(similarities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Percent of rows of (N, M) whose positive (column `labels`, (N,)) is the most similar, and among the five most similar.

    Ties and NaN count against the row: a collapsed network, whose similarities are all equal, scores 0 and not 100.
    """
    positive = similarities.gather(1, labels.unsqueeze(1))
    not_below = similarities.shape[1] - (similarities < positive).sum(dim=1)  # the positive itself included
    return (not_below <= 1).float().mean() * 100, (not_below <= 5).float().mean() * 100


@torch.no_grad()
def pair_cosines(queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine of `queries` (N, D) with their own keys (N, D), and with the other N - 1 keys (0 when N is 1).

    The sum over all pairs is the inner product of the two sums, so the N×N matrix is never made.
    """
    queries, keys = F.normalize(at_least_float32(queries), dim=1), F.normalize(at_least_float32(keys), dim=1)
    count = queries.shape[0]
    positive = paired_similarity(queries, keys).sum()
    every = (queries.sum(dim=0) * keys.sum(dim=0)).sum()
    return positive / count, (every - positive) / max(count * (count - 1), 1)
