"""The oracles of methods that predict something: prototypes, keys, pixels, a teacher's features; and of a wanted distribution."""

from __future__ import annotations

import itertools
import math

import torch
from lightly.loss import (
    DINOLoss,
    NegativeCosineSimilarity,
    SwaVLoss,
)
from lightly.models import utils
from torch import Tensor
from torch.nn import functional as F

from ssl_core.methods.dino import sharpened
from ssl_core.methods.distill import cosine_distance, similarity_cross_entropy
from ssl_core.methods.lejepa import invariance, random_slices, sigreg
from ssl_core.methods.mae import masked_loss, random_masking
from ssl_core.methods.mocov3 import batch_contrast
from ssl_core.parts.patches import patchify
from ssl_core.parts.prototypes import swapped_cross_entropy
from ssl_core.parts.sinkhorn import sinkhorn
from support.comparing import TEMPERATURE, Errors, compare, draw, unit


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


def mae(n: int, d: int, seed: int) -> Errors:
    """lightly's utilities: of images with d channels and nine patches of side 2, seven are hidden, and their pixels guessed."""
    pixels, guesses, noise = draw((n * 36, n * 7 * 4, n * 9), d, seed)
    hidden = random_masking(noise[:, 0].view(n, 9), 0.75)[1]

    def ours(images: Tensor, guesses: Tensor) -> Tensor:
        return masked_loss(guesses, patchify(images, 2), hidden)

    def theirs(images: Tensor, guesses: Tensor) -> Tensor:
        targets = utils.get_at_index(utils.patchify(images, 2), hidden)
        return F.mse_loss(guesses, utils.normalize_mean_var(targets))

    return compare(ours, theirs, [pixels.view(n, d, 6, 6), guesses.view(n, 7, 4 * d)])


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
