"""DINO: predict, from any view, what a teacher makes of another; the teacher is a moving average of the student itself.

Both give a distribution over K prototypes. Two things forbid the constant answer, and each alone would not: the teacher's
outputs are centred (no prototype can take all images) and sharpened by a low temperature (they cannot stay uniform). Local
views are the student's only, so that parts are matched with wholes.

Caron et al. 2021, arXiv:2104.14294. Served: the teacher, which is the better network all through training (section 5.2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.gather import mean_over_ranks
from ssl_core.parts.precision import at_least_float32
from ssl_core.parts.prototypes import Prototypes, assignment_entropies, swapped_cross_entropy
from ssl_core.spec.methods_clustering import DINOConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def sharpened(outputs: Tensor, center: Tensor, temperature: float) -> Tensor:
    """The teacher's distributions (N, K): softmax((outputs - center) / temperature) of outputs (N, K) and the centre (K,)."""
    return F.softmax((at_least_float32(outputs) - center) / temperature, dim=1)


def teacher_temperature(epochs_done: float, start: float, final: float, warmup_epochs: float) -> float:
    """The temperature after so many epochs, fractions included: from `start` to `final` in a line, then `final`."""
    if epochs_done >= warmup_epochs:
        return final
    return start + (final - start) * epochs_done / warmup_epochs


class DINO(Method):
    """Loss: the mean cross-entropy over all pairs of a global view by the teacher and another view by the student."""

    config: DINOConfig
    center: Tensor  # (K,) float32, of the teacher's outputs

    def __init__(self, encoder: nn.Module, feature_dim: int, config: DINOConfig, optim: OptimConfig) -> None:
        super().__init__(encoder, feature_dim, config, optim)
        self.branches.add_prototypes(Prototypes(self.branches.key_dim, config.prototypes, norm="forward"))
        self.register_buffer("center", torch.zeros(config.prototypes))

    def serving_encoder(self) -> nn.Module:
        """The teacher. Its batch norms have seen its own features of global views, so their statistics fit its weights."""
        assert self.branches.target_encoder is not None
        return self.branches.target_encoder

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The student sees every view, the teacher the two global ones; the centre moves after it was used."""
        config = self.config
        student, teacher = self.branches.prototypes, self.branches.target_prototypes
        assert student is not None and teacher is not None
        view_a, view_b, *local = batch.views
        outs = [self.branches.query(view_a), self.branches.query(view_b), *self.branches.queries(local)]
        scores = [student(out.query) for out in outs]
        with torch.no_grad():
            keys = [self.branches.key(view_a), self.branches.key(view_b)]
            outputs = [teacher(key) for key in keys]
            targets = [sharpened(each, self.center, self._temperature()) for each in outputs]
        loss = swapped_cross_entropy(scores, targets, config.student_temperature)
        self.center.lerp_(mean_over_ranks(torch.cat(outputs).mean(dim=0)), 1 - config.center_momentum)
        directions = [Direction(outs[0], keys[1]), Direction(outs[1], keys[0])]
        return self.report(loss, **self._watch(loss.detach(), torch.cat(targets)), **self.watch_cosines(directions))

    def _watch(self, loss: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What shows collapse: loss_over_ln_k stays at 1 when the outputs have become uniform, prototype_usage falls to 0 when
        all images go to one prototype. teacher_kl, in nats, is what of the loss the student could still learn."""
        most = math.log(self.config.prototypes)
        entropy, usage = assignment_entropies(targets)
        return {
            "loss_over_ln_k": loss / most,
            "teacher_entropy": entropy,
            "teacher_kl": loss - entropy * most,
            "prototype_usage": usage,
        }

    def _temperature(self) -> float:
        config = self.config
        return teacher_temperature(
            self.epochs_done, config.teacher_temperature_start, config.teacher_temperature, config.teacher_warmup_epochs
        )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Lightning's hook: in the first epochs the last layer has no gradient, so that the optimiser passes over it."""
        if self.branches.prototypes is not None and self.epochs_done < self.config.freeze_prototypes_epochs:
            self.branches.prototypes.weight.grad = None
