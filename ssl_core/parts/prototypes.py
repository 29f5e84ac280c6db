"""Prototypes: K learned directions, with which unit vectors are compared (SwAV, DINO), and how evenly they are used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.parts.precision import at_least_float32, similarity_matrix


class Prototypes(nn.Module):
    """Unit vectors (N, dim) → cosines (N, count), float32 or better.

    norm: where the prototypes get their length of 1. "forward": in each forward pass, as a layer with weight norm whose gain
    is fixed (DINO); the length of `weight` then counts for nothing. "stored": `weight` itself, by `renormalise` before each step
    (SwAV); the forward pass takes it as it is.
    """

    weight: nn.Parameter  # (count, dim)

    def __init__(self, dim: int, count: int, norm: Literal["forward", "stored"]) -> None:
        super().__init__()
        self.norm = norm
        self.weight = nn.Parameter(torch.empty(count, dim).uniform_(-1 / math.sqrt(dim), 1 / math.sqrt(dim)))
        self.renormalise()

    @torch.no_grad()
    def renormalise(self) -> None:
        """Give each prototype the length 1, in place, where that is how they are kept; else nothing happens."""
        if self.norm == "stored":
            self.weight.copy_(F.normalize(self.weight, dim=1))

    def forward(self, vectors: Tensor) -> Tensor:
        """Cosines (N, count) of `vectors` (N, dim) of length 1."""
        weight = at_least_float32(self.weight)
        return similarity_matrix(vectors, F.normalize(weight, dim=1) if self.norm == "forward" else weight)


@torch.no_grad()
def assignment_entropies(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Of assignments (N, K), rows that add up to 1: the mean entropy of a row, as a share of ln K, and that of the mean row, as a
    share of the most that it can be.

    The first near 1: every image lies to all prototypes alike. The second near 0: all images lie to one alone. In a network
    that learns, rows are sharp and their mean is spread. The mean of N rows has at most ln N nats more entropy than the rows
    have: with few images and sharp rows no prototypes are left over for it, however well all goes.
    """
    images, prototypes = probabilities.shape
    most = math.log(prototypes)
    entropy = torch.special.entr(probabilities).sum(dim=1).mean()
    usage = torch.special.entr(probabilities.mean(dim=0)).sum()
    return entropy / most, usage / (entropy + math.log(images)).clamp(1e-6, most)


def swapped_cross_entropy(scores: Sequence[Tensor], targets: Sequence[Tensor], temperature: float) -> Tensor:
    """Mean over images, and over all pairs of a target and *another* view, of H(target, softmax(view's scores / temperature)).

    scores: (N, K) of each view, first those of the views that the targets are of, in the targets' order. targets: (N, K)
    without gradient, rows that add up to 1. A scalar, in float32 or better. With T targets and V views there are T·(V - 1)
    pairs: the loss of SwAV (arXiv:2006.09882, equation 1) and of DINO (arXiv:2104.14294, equation 3), divided by their number.
    """
    predictions = [F.log_softmax(at_least_float32(each) / temperature, dim=1) for each in scores]
    terms = [
        -(target * prediction).sum(dim=1).mean()
        for of, target in enumerate(targets)
        for view, prediction in enumerate(predictions)
        if view != of
    ]
    return torch.stack(terms).mean()
