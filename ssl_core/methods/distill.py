"""Distillation: a small encoder learns to say of each view what a large, frozen one says of the same view.

No negatives and no pairs of views: what is right is known and stands still, so that the constant answer is no way out, and a
network that is too small to learn much by itself gets what the teacher has found out. Student and teacher see the very same
view, which Beyer et al. 2021 (arXiv:2106.05237) found to matter ("consistent"), as do strong crops and many epochs ("patient").
The mean of the teacher's features is taken off them, or a student that says the mean of every picture would be nearly right.
A head brings the student's features to the teacher's width and is thrown away afterwards.

"cosine": the distance of the two outputs on the unit sphere (Hinton et al. 2015, arXiv:1503.02531, for features).
"similarity": how alike each finds the teacher's features of past images (SEED, Fang et al. 2021, arXiv:2101.04731).
Served: the student's encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.gather import gather, mean_over_ranks
from ssl_core.parts.precision import paired_similarity, similarity_matrix
from ssl_core.parts.queue import KeyQueue
from ssl_core.parts.teacher import Teacher
from ssl_core.spec.methods_distillation import DistillConfig
from ssl_core.spec.parts import BranchesConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch

_LEAST_WEIGHT = 0.01  # of a step in the running mean, which is the plain mean of the first hundred


def cosine_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """mean(1 - ⟨s, t⟩) over rows (N, D) of unit length, a scalar in [0, 2]: half of the mean ‖s - t‖²."""
    return 1 - paired_similarity(student, teacher).mean()


def similarity_cross_entropy(
    student: Tensor, teacher: Tensor, past: Tensor, temperature: float, teacher_temperature: float
) -> Tensor:
    """Cross-entropy between two distributions over K + 1 features, of each of N images (SEED, section 3); a scalar.

    student, teacher: (N, D); past: (K, D); all of unit length. The K past features and the teacher's own of the image (the
    first) are told apart by softmax(⟨t, ·⟩ / teacher_temperature), and the student's ⟨s, ·⟩ / temperature are to follow.
    """
    said = torch.cat([paired_similarity(student, teacher).unsqueeze(1), similarity_matrix(student, past)], dim=1)
    right = torch.cat([paired_similarity(teacher, teacher).unsqueeze(1), similarity_matrix(teacher, past)], dim=1)
    return F.cross_entropy(said / temperature, F.softmax(right / teacher_temperature, dim=1))


def fitted(branches: BranchesConfig, feature_dim: int, dim: int) -> BranchesConfig:
    """The heads with `dim` outputs. Raises ValueError where there is no head to bring feature_dim to it."""
    for name in ("predictor", "projector"):
        head = getattr(branches, name)
        if head.layers:
            return branches.changed(**{name: {**head.model_dump(), "out_dim": dim}})
    if feature_dim != dim:
        raise ValueError(
            f"method.branches.projector.layers = 0, and the encoder's features have {feature_dim} numbers, the teacher's {dim}: "
            "use at least 1"
        )
    return branches


class Distill(Method):
    """Loss: the mean over views, local ones included."""

    config: DistillConfig
    center: Tensor  # (D,) float32: the running mean of the teacher's features of global views, over all ranks
    center_steps: Tensor  # (): steps that it is of

    def __init__(self, encoder: nn.Module, feature_dim: int, config: DistillConfig, optim: OptimConfig, teacher: Teacher) -> None:
        heads = config.changed(branches=fitted(config.branches, feature_dim, teacher.dim).model_dump())
        super().__init__(encoder, feature_dim, heads, optim)
        self.config = config
        self.teacher = teacher
        self.register_buffer("center", torch.zeros(teacher.dim))
        self.register_buffer("center_steps", torch.zeros(()))
        self.queue = KeyQueue(teacher.dim, config.past_features) if config.loss == "similarity" else None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Each view through both networks; the first view's features are what later steps compare with."""
        view_a, view_b, *local = batch.views
        outs = [self.branches.query(view_a), self.branches.query(view_b), *self.branches.queries(local)]
        targets = self._targets([self.teacher(view) for view in batch.views])
        past = None if self.queue is None else self.queue.snapshot()
        losses = [self._loss(out.query, target, past) for out, target in zip(outs, targets, strict=True)]
        if self.queue is not None:
            self.queue.push(gather(targets[0]))
        directions = [Direction(out, target) for out, target in zip(outs[:2], targets[:2], strict=True)]
        return self.report(torch.stack(losses).mean(), **self.watch_cosines(directions))

    @torch.no_grad()
    def _targets(self, features: list[Tensor]) -> list[Tensor]:
        """Features (N, D) of each view without their running mean, of unit length."""
        if self.config.centre == "running":
            self.center_steps += 1
            weight = (1 / self.center_steps).clamp(min=_LEAST_WEIGHT)
            self.center.lerp_(mean_over_ranks(torch.cat(features[:2]).mean(dim=0)), weight)
        return [F.normalize(each - self.center, dim=1) for each in features]

    def _loss(self, student: Tensor, teacher: Tensor, past: Tensor | None) -> Tensor:
        if past is None:
            return cosine_distance(student, teacher)
        return similarity_cross_entropy(student, teacher, past, self.config.temperature, self.config.teacher_temperature)
