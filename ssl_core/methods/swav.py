"""SwAV: predict which prototypes one view of an image belongs to from another view of it. No pairs are compared.

The assignments to predict, the codes, share the prototypes out evenly over the batch (Sinkhorn-Knopp), which forbids the
constant answer. A small batch is shared out together with a queue of past projections.

Caron et al. 2020, arXiv:2006.09882. Served: the encoder (there is one).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.gather import gather, rank, world_size
from ssl_core.parts.prototypes import Prototypes, assignment_entropies, swapped_cross_entropy
from ssl_core.parts.queue import KeyQueue
from ssl_core.parts.sinkhorn import sinkhorn
from ssl_core.spec.methods_clustering import SwAVConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


class SwAV(Method):
    """Loss: the mean over all pairs of a global view's codes and another view's prediction; local views only predict."""

    config: SwAVConfig

    def __init__(self, encoder: nn.Module, feature_dim: int, config: SwAVConfig, optim: OptimConfig) -> None:
        super().__init__(encoder, feature_dim, config, optim)
        self.prototypes = Prototypes(self.branches.key_dim, config.prototypes, norm="stored")
        if config.queue_size:  # one for each global view; the same on every rank
            self.queue_a = KeyQueue(self.branches.key_dim, config.queue_size)
            self.queue_b = KeyQueue(self.branches.key_dim, config.queue_size)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Codes of both global views; each is predicted from all views but its own. The queues are pushed once."""
        view_a, view_b, *local = batch.views
        self.prototypes.renormalise()
        out_a, out_b = self.branches.query(view_a), self.branches.query(view_b)
        scores = [self.prototypes(out.query) for out in (out_a, out_b, *self.branches.queries(local))]
        queues = [self.queue_a, self.queue_b] if self.config.queue_size else []
        used = queues if self._queues_count(len(view_a)) else [None, None]
        codes = [self._codes(view, queue) for view, queue in zip(scores, used, strict=False)]
        loss = swapped_cross_entropy(scores, codes, self.config.temperature)
        for queue, out in zip(queues, (out_a, out_b), strict=False):
            queue.push(gather(out.query))
        entropy, usage = assignment_entropies(F.softmax(scores[0].detach() / self.config.temperature, dim=1))
        return self.report(
            loss,
            loss_over_ln_k=loss / math.log(self.config.prototypes),
            prediction_entropy=entropy,
            prototype_usage=usage,
            **self.watch_cosines([Direction(out_a, out_b.query)]),
        )

    @torch.no_grad()
    def _codes(self, scores: Tensor, queue: KeyQueue | None) -> Tensor:
        """Codes (N, K) of `scores` (N, K), shared out over all ranks' rows and the queue's, of which each rank takes its part."""
        rows = scores.detach()
        if queue is not None:
            past = queue.keys.tensor_split(world_size())[rank()]
            rows = torch.cat([rows, self.prototypes(past)])
        return sinkhorn(rows, self.config.epsilon, self.config.sinkhorn_iterations)[: len(scores)]

    def _queues_count(self, rows: int) -> bool:
        """After their epochs, and never before they are full of images."""
        config, pushed = self.config, self.steps_done * rows * world_size()
        return 0 < config.queue_size <= pushed and self.epochs_done >= config.queue_start_epochs

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Lightning's hook: in the first epochs prototypes have no gradient, so that the optimiser passes over them."""
        if self.epochs_done < self.config.freeze_prototypes_epochs:
            self.prototypes.weight.grad = None
