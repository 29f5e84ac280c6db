"""What every method shares: branches, the update of the target after each optimiser step, and what is reported.

A method's file holds its idea, its loss and its `training_step`; this one knows neither. It works in a plain
`pytorch_lightning.Trainer` with any loader of batches that have `views`, a pair of float tensors (N, 3, S, S).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssl_core.clock import StepClock
from ssl_core.parts.branches import Branches, Direction
from ssl_core.parts.ema import step_progress
from ssl_core.parts.measures import contrast_accuracy, pair_cosines
from ssl_core.spec.methods import MethodConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


class Method(pl.LightningModule):
    """A self-supervised method on an encoder: images (N, 3, S, S) → features (N, feature_dim)."""

    config: MethodConfig
    scale_matters = False  # whether the loss is another one for outputs of half the length

    def __init__(self, encoder: nn.Module, feature_dim: int, config: MethodConfig, optim: OptimConfig) -> None:
        super().__init__()
        self.config = config
        self.optim = optim
        self.branches = Branches(encoder, feature_dim, config.branches)
        self.latest: dict[str, Tensor] = {}
        self.steps_per_epoch: int | None = None  # set it where one epoch of the Trainer is not one of the data
        self.steps_done = 0  # optimiser steps before this one, as the Trainer counts them
        self.clock = StepClock()
        self._epoch_steps: int | None = None
        self._total_steps = math.inf

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one batch, a scalar. No part of it may wait for the accelerator (`item`, `bool` and `nonzero` do)."""
        raise NotImplementedError

    def serving_encoder(self) -> nn.Module:
        """The network to export: the one that gradients train, not its moving average, where a method does not say otherwise."""
        return self.branches.encoder

    def forward(self, images: Tensor) -> Tensor:
        """Features (N, feature_dim) of images (N, 3, S, S) by the encoder that is served."""
        features: Tensor = self.serving_encoder()(images)
        return features

    def report(self, loss: Tensor, **values: Tensor) -> Tensor:
        """Scale the loss and keep detached scalars in `latest`, on the device, for whoever logs them now and then.

        `train_loss` is the scaled loss, the very number that is differentiated.
        """
        loss = loss * self.config.loss_scale
        self.latest |= {"train_loss": loss.detach(), **{name: value.detach() for name, value in values.items()}}
        return loss

    def watch_cosines(self, directions: list[Direction]) -> dict[str, Tensor]:
        """Mean cosine of positive and of negative pairs over the directions.

        Of the projection, not the prediction, with the keys: what the features carry, not what the predictor makes of them.
        Where the two differ in size, the query stands in.
        """
        pairs = []
        for out, keys in directions:
            pairs.append(pair_cosines(out.projection if out.projection.shape == keys.shape else out.query, keys))
        positive, negative = (torch.stack(values).mean() for values in zip(*pairs, strict=True))
        return {"positive_cosine": positive, "negative_cosine": negative}

    def watch_contrast(self, similarities: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Accuracy of finding the positive, in percent; see `contrast_accuracy`."""
        top1, top5 = contrast_accuracy(similarities, labels)
        return {"contrast_top1": top1, "contrast_top5": top5}

    def gauges(self, step: int, images: int) -> dict[str, float]:
        """Further figures of a report that need no device: what follows from the step, with so many images in each.

        `loss_at_chance` is what a cross-entropy comes to when nothing is told apart, ln of the number of candidates: a
        train_loss that stays there is a sign of ill health (ssl_core/health/).
        """
        return {}

    def on_train_start(self) -> None:
        """Lightning's hook. The length of the run is asked for once: Lightning works it out anew each time."""
        total = float(self.trainer.estimated_stepping_batches)
        self._total_steps = total if total > 0 else math.inf  # Lightning says -1 for a loader without a length

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Lightning's hook. What follows a schedule asks for `steps_done`, which a resumed run counts on from where it was."""
        self.steps_done = self.trainer.global_step

    @property
    def epochs_done(self) -> float:
        """Epochs before this step, fractions included; 0 where nobody has said how long one is (outside a Trainer)."""
        steps = self.steps_per_epoch or self._epoch_steps
        return self.steps_done / steps if steps else 0.0

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Lightning's hook: the optimiser's step, then the target's. `global_step` still counts the steps before this one.

        The closure is the forward and the backward pass; what the optimiser does after it is timed apart.
        """
        with ExitStack() as after_the_closure:

            def closure() -> Any:
                with self.clock.stage("forward_backward"):
                    loss = None if optimizer_closure is None else optimizer_closure()
                after_the_closure.enter_context(self.clock.stage("optimizer"))
                return loss

            super().optimizer_step(epoch, batch_idx, optimizer, closure)
        with self.clock.stage("ema"):
            momentum = self.branches.update_target(step_progress(self.trainer.global_step, self._total_steps))
        if momentum is not None:
            self.latest["target_momentum"] = torch.tensor(momentum)

    def configure_optimizers(self) -> Any:
        """Lightning's hook: the optimiser and its schedule, by `ssl_core.optim`."""
        from ssl_core.optim import build_optimizer

        total = self.trainer.estimated_stepping_batches
        if not 0 < total < math.inf:
            raise ValueError(
                "the schedule needs the length of the run: give the Trainer max_epochs or max_steps, and a loader with a length"
            )
        self._epoch_steps = math.ceil(self.trainer.num_training_batches / self.trainer.accumulate_grad_batches)
        return build_optimizer(self, self.optim, int(total), self.steps_per_epoch or self._epoch_steps)
