"""Each method's loss beside an independent implementation: lightly's, and where it has none, the formula written out.

    ORACLES["simclr"](n, d, seed) -> Errors(value, gradient)

An oracle draws the outputs of `n` images in `d` dimensions, float64, and says how far the two losses and their gradients are
apart. A key is a method's name, or that and a convention's: "simclr, dcl". docs/measure_methods.py prints what they find.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable

import torch
from lightly.loss import (
    BarlowTwinsLoss,
    DCLLoss,
    DCLWLoss,
    DINOLoss,
    NegativeCosineSimilarity,
    NTXentLoss,
    SwaVLoss,
    VICRegLoss,
)
from lightly.models.modules import NNMemoryBankModule
from torch import Tensor

from ssl_core.methods.barlow_twins import barlow_twins_terms
from ssl_core.methods.dino import sharpened
from ssl_core.methods.distill import cosine_distance, similarity_cross_entropy
from ssl_core.methods.lejepa import invariance, random_slices, sigreg
from ssl_core.methods.moco import queue_similarities
from ssl_core.methods.mocov3 import batch_contrast
from ssl_core.methods.nnclr import nearest
from ssl_core.methods.simclr import cross_view_similarities, two_view_similarities
from ssl_core.methods.simsiam import negative_similarity
from ssl_core.methods.vicreg import vicreg_terms
from ssl_core.parts.decoupled import decoupled_cross_entropy, mises_fisher_weights
from ssl_core.parts.pair_loss import cross_entropy, inner_product
from ssl_core.parts.precision import paired_similarity
from ssl_core.parts.prototypes import swapped_cross_entropy
from ssl_core.parts.sinkhorn import sinkhorn
from support.comparing import SEEDS, SHAPES, TEMPERATURE, Errors, compare, draw, unit


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


def swav(n: int, d: int, seed: int) -> Errors:
    """Two global views and two local ones, with the cosines of each with d prototypes."""

    def ours(a: Tensor, b: Tensor, *local: Tensor) -> Tensor:
        return swapped_cross_entropy([a, b, *local], [sinkhorn(each.detach(), 0.05, 3) for each in (a, b)], 0.1)

    theirs = SwaVLoss(temperature=0.1, sinkhorn_epsilon=0.05, sinkhorn_iterations=3)
    scores = [torch.tanh(each) for each in draw((n, n, n, n), d, seed)]
    return compare(ours, lambda a, b, *local: theirs([a, b], list(local)), scores)


def dino(n: int, d: int, seed: int) -> Errors:
    """A first step, whose centre is 0: two global views and two local ones; the teacher's outputs without gradient.

    lightly keeps temperatures in float32, so that of the teacher is one that float32 has.
    """
    *student, teacher_a, teacher_b = draw((n,) * 6, d, seed)
    centre = torch.zeros(d, dtype=torch.float64)

    def ours(*scores: Tensor) -> Tensor:
        return swapped_cross_entropy(scores, [sharpened(each, centre, 0.0625) for each in (teacher_a, teacher_b)], 0.1)

    def theirs(*scores: Tensor) -> Tensor:
        loss: Tensor = DINOLoss(output_dim=d, teacher_temp=0.0625, student_temp=0.1).double()(
            [teacher_a, teacher_b], list(scores)
        )
        return loss

    return compare(ours, theirs, student)


def mocov3(n: int, d: int, seed: int) -> Errors:
    """One direction, which lightly does not have: 2τ times the mean of -log( exp(qᵢ·kᵢ/τ) / Σⱼ exp(qᵢ·kⱼ/τ) ), row by row."""
    query, keys = draw((n, n), d, seed)
    keys = unit(keys)

    def theirs(q: Tensor) -> Tensor:
        q = q / q.norm(dim=1, keepdim=True)
        rows = [torch.stack([(row @ key / TEMPERATURE).exp() for key in keys]) for row in q]
        return 2 * TEMPERATURE * torch.stack([-(row[i] / row.sum()).log() for i, row in enumerate(rows)]).mean()

    return compare(lambda q: batch_contrast(unit(q) @ keys.T, torch.arange(n), TEMPERATURE), theirs, [query])


def lejepa(n: int, d: int, seed: int) -> Errors:
    """Written out, number by number; lightly's, whose frequencies are float32, is compared with in test_lejepa.py to 1e-6.

    For each direction and view, the test of Epps and Pulley: N · ∫ |mean exp(itx) - exp(-t²/2)|² exp(-t²/2) dt over ±t_max, by
    the trapezoidal rule; the mean of all. Invariance: the mean squared distance from the mean of the two global views.
    """
    views = draw((n, n, n), d, seed)
    slices = random_slices(d, 8, seed, torch.device("cpu")).double()

    def ours(*views: Tensor) -> Tensor:
        z = torch.stack(views)
        return 0.05 * sigreg(z, slices, 5, 2.0) + 0.95 * invariance(z, 2)

    def theirs(*views: Tensor) -> Tensor:
        statistics = []
        for z in views:
            for direction in slices.T:
                x, gaps = z @ direction, []
                for t in (0.0, 0.5, 1.0, 1.5, 2.0):
                    normal = math.exp(-t * t / 2)
                    real, imaginary = torch.cos(t * x).mean() - normal, torch.sin(t * x).mean()
                    gaps.append((real**2 + imaginary**2) * normal)
                area = sum(0.5 * (low + high) / 2 for low, high in itertools.pairwise(gaps))
                statistics.append(n * 2 * area)
        centre = (views[0] + views[1]) / 2
        distance = torch.stack([(z - centre) ** 2 for z in views]).mean()
        return 0.05 * torch.stack(statistics).mean() + 0.95 * distance

    return compare(ours, theirs, views)


def distill(n: int, d: int, seed: int) -> Errors:
    """lightly's negative cosine plus 1; the teacher's features without gradient."""
    student, teacher = draw((n, n), d, seed)
    return compare(
        lambda s: cosine_distance(unit(s), unit(teacher)), lambda s: 1 + NegativeCosineSimilarity()(s, teacher), [student]
    )


def distill_similarity(n: int, d: int, seed: int) -> Errors:
    """Written out, row by row: -sum p log q, where p and q are softmaxes over the teacher's own feature and the past ones."""
    student, teacher, past = draw((n, n, 3 * n), d, seed)
    teacher, past = unit(teacher), unit(past)

    def theirs(s: Tensor) -> Tensor:
        s, losses = s / s.norm(dim=1, keepdim=True), []
        for i, own in enumerate(teacher):
            support = torch.stack([own, *past])
            p = torch.stack([(own @ each / 0.1).exp() for each in support])
            q = torch.stack([(s[i] @ each / TEMPERATURE).exp() for each in support])
            losses.append(-(p / p.sum() * (q / q.sum()).log()).sum())
        return torch.stack(losses).mean()

    return compare(lambda s: similarity_cross_entropy(unit(s), teacher, past, TEMPERATURE, 0.1), theirs, [student])


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
