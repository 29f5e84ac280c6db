"""Each method's loss beside an independent implementation: lightly's, and where it has none, the formula written out.

    ORACLES["simclr"](n, d, seed) -> Errors(value, gradient)

An oracle draws the outputs of `n` images in `d` dimensions, float64, and says how far the two losses and their gradients are
apart. A key is a method's name, or that and a convention's: "simclr, dcl". docs/measure_methods.py prints what they find.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from lightly.loss import (
    BarlowTwinsLoss,
    DCLLoss,
    DCLWLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    VICRegLoss,
)
from lightly.models.modules import NNMemoryBankModule
from torch import Tensor

from ssl_core.methods.barlow_twins import barlow_twins_terms
from ssl_core.methods.moco import queue_similarities
from ssl_core.methods.nnclr import nearest
from ssl_core.methods.simclr import cross_view_similarities, two_view_similarities
from ssl_core.methods.simsiam import negative_similarity
from ssl_core.methods.vicreg import vicreg_terms
from ssl_core.parts.decoupled import decoupled_cross_entropy, mises_fisher_weights
from ssl_core.parts.pair_loss import cross_entropy, inner_product
from ssl_core.parts.precision import paired_similarity
from support.comparing import SEEDS, SHAPES, TEMPERATURE, Errors, compare, draw, unit
from support.oracles_of_targets import dino, distill, distill_similarity, lejepa, mae, mocov3, swav


def moco(n: int, d: int, seed: int) -> Errors:
    """lightly's NT-Xent with a memory bank is InfoNCE on [q·k, q·queue]; keys and queue carry no gradient."""
    query, keys, queue = draw((n, n, 4 * n), d, seed)
    keys, queue = unit(keys), unit(queue)
    theirs = NTXentLoss(temperature=TEMPERATURE, memory_bank_size=(4 * n, d))
    theirs.memory_bank.bank = queue.clone()
    theirs.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    return compare(
        lambda q: cross_entropy(*queue_similarities(unit(q), keys, queue), TEMPERATURE), lambda q: theirs(q, keys), [query]
    )


def _nt_xent(a: Tensor, b: Tensor) -> Tensor:
    a, b = unit(a), unit(b)
    return cross_entropy(*two_view_similarities(a, b, a, b), TEMPERATURE)


def simclr(n: int, d: int, seed: int) -> Errors:
    """NT-Xent."""
    return compare(_nt_xent, NTXentLoss(temperature=TEMPERATURE), draw((n, n), d, seed))


def dcl(n: int, d: int, seed: int) -> Errors:
    """SimCLR with `decoupled`."""

    def ours(a: Tensor, b: Tensor) -> Tensor:
        a, b = unit(a), unit(b)
        return decoupled_cross_entropy(*two_view_similarities(a, b, a, b), TEMPERATURE)

    return compare(ours, DCLLoss(temperature=TEMPERATURE), draw((n, n), d, seed))


def dclw(n: int, d: int, seed: int) -> Errors:
    """The same with weights."""

    def ours(a: Tensor, b: Tensor) -> Tensor:
        a, b = unit(a), unit(b)
        weights = mises_fisher_weights(paired_similarity(a, b).unsqueeze(0), sigma=0.5).flatten().repeat(2)
        return decoupled_cross_entropy(*two_view_similarities(a, b, a, b), TEMPERATURE, weights)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lightly makes a tensor of a tensor
        return compare(ours, DCLWLoss(temperature=TEMPERATURE, sigma=0.5), draw((n, n), d, seed))


def byol(n: int, d: int, seed: int) -> Errors:
    """One direction at loss_scale 2: 2 - 2·mean⟨q, k⟩, twice lightly's negative cosine plus 2; keys without gradient."""
    query, keys = draw((n, n), d, seed)

    def ours(q: Tensor) -> Tensor:
        return 2 * inner_product(paired_similarity(unit(q), unit(keys)).unsqueeze(1), torch.zeros(n, dtype=torch.long))

    return compare(ours, lambda q: 2 + 2 * NegativeCosineSimilarity()(q, keys), [query])


def vicreg(n: int, d: int, seed: int) -> Errors:
    """The paper's convention, with its weights."""

    def ours(a: Tensor, b: Tensor) -> Tensor:
        terms = vicreg_terms(a, b)
        return 25 * terms.invariance + 25 * terms.variance + terms.covariance

    return compare(ours, VICRegLoss(), draw((n, n), d, seed))


def vicreg_reference(n: int, d: int, seed: int) -> Errors:
    """variance_term "reference" sums the two views' hinges: the paper's loss with twice the variance's weight."""

    def ours(a: Tensor, b: Tensor) -> Tensor:
        terms = vicreg_terms(a, b, variance_term="reference")
        return 25 * terms.invariance + 25 * terms.variance + terms.covariance

    return compare(ours, VICRegLoss(mu_param=50.0), draw((n, n), d, seed))


def simsiam(n: int, d: int, seed: int) -> Errors:
    """Half of the negative cosine of each direction; projections without gradient."""
    *predictions, z_a, z_b = draw((n, n, n, n), d, seed)
    theirs = NegativeCosineSimilarity()
    return compare(
        lambda a, b: (negative_similarity(unit(a), unit(z_b)) + negative_similarity(unit(b), unit(z_a))) / 2,
        lambda a, b: (theirs(a, z_b) + theirs(b, z_a)) / 2,
        predictions,
    )


def barlow_twins(n: int, d: int, seed: int) -> Errors:
    """With the paper's λ."""

    def ours(a: Tensor, b: Tensor) -> Tensor:
        terms = barlow_twins_terms(a, b)
        return terms.invariance + 5e-3 * terms.redundancy

    return compare(ours, BarlowTwinsLoss(lambda_param=5e-3), draw((n, n), d, seed))


def nnclr(n: int, d: int, seed: int) -> Errors:
    """negatives "cross_view", which lightly does not have: -log( exp(nnᵢ·pᵢ/T) / Σₖ exp(nnᵢ·pₖ/T) ), row by row."""
    predictions, keys, support = draw((n, n, 4 * n), d, seed)
    keys, support = unit(keys), unit(support)

    def theirs(p: Tensor) -> Tensor:
        p = p / p.norm(dim=1, keepdim=True)
        rows = []
        for i, key in enumerate(keys):
            neighbour = max(support, key=lambda row: float(row @ key))
            rows.append(torch.stack([(neighbour @ other / TEMPERATURE).exp() for other in p]))
            rows[-1] = -(rows[-1][i] / rows[-1].sum()).log()
        return torch.stack(rows).mean()

    return compare(
        lambda p: cross_entropy(*cross_view_similarities(nearest(keys, support), unit(p)), TEMPERATURE), theirs, [predictions]
    )


def nnclr_nt_xent(n: int, d: int, seed: int) -> Errors:
    """negatives "nt_xent": lightly's NT-Xent between predictions and the neighbours that its memory bank finds."""
    predictions, keys, support = draw((n, n, 4 * n), d, seed)
    bank = NNMemoryBankModule(size=(4 * n, d))
    bank.bank = unit(support)
    neighbours = bank(keys, update=False)

    def ours(p: Tensor) -> Tensor:
        found, p = nearest(unit(keys), unit(support)), unit(p)
        return cross_entropy(*two_view_similarities(found, p, found, p), TEMPERATURE)

    return compare(ours, lambda p: NTXentLoss(temperature=TEMPERATURE)(neighbours, p), [predictions])


ORACLES: dict[str, Callable[[int, int, int], Errors]] = {
    "moco": moco,
    "simclr": simclr,
    "simclr, dcl": dcl,
    "simclr, dclw": dclw,
    "byol": byol,
    "vicreg": vicreg,
    "vicreg, reference": vicreg_reference,
    "simsiam": simsiam,
    "barlow_twins": barlow_twins,
    "nnclr": nnclr,
    "nnclr, nt_xent": nnclr_nt_xent,
    "swav": swav,
    "dino": dino,
    "mocov3": mocov3,
    "lejepa": lejepa,
    "mae": mae,
    "distill": distill,
    "distill, similarity": distill_similarity,
}


def largest(method: str) -> Errors | None:
    """Over all shapes and seeds, and all conventions of a method; None if it has no oracle."""
    found = [
        oracle(n, d, seed)
        for name, oracle in ORACLES.items()
        if name.split(",")[0] == method
        for n, d in SHAPES
        for seed in SEEDS
    ]
    return Errors(*map(max, zip(*found, strict=True))) if found else None
