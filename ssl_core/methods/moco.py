"""MoCo: tell the other view of the same image from a queue of past images.

Keys come from a slowly moving average of the network, so that those of earlier batches, kept in a queue, stay comparable.
v2 is v1 with a two-layer projector and stronger views. EqCo's margin makes K negatives weigh as alpha would.

He et al. 2019, arXiv:1911.05722; v2: Chen et al. 2020, arXiv:2003.04297; EqCo: Zhu et al. 2020, arXiv:2010.01929.
Served: the online encoder.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssl_core.methods.base import Method
from ssl_core.parts.gather import gather, world_size
from ssl_core.parts.pair_loss import pair_loss
from ssl_core.parts.precision import paired_similarity, similarity_matrix
from ssl_core.parts.queue import KeyQueue
from ssl_core.spec.methods import MoCoConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def queue_similarities(queries: Tensor, keys: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Similarities (N, 1 + K) of queries (N, D) with their own keys (N, D), then with negatives (K, D); labels (N,), all 0."""
    positive = paired_similarity(queries, keys).unsqueeze(1)
    similarities = torch.cat([positive, similarity_matrix(queries, negatives)], dim=1)
    return similarities, torch.zeros(len(queries), dtype=torch.long, device=queries.device)


class MoCo(Method):
    """Loss: mean over images of the loss on [q·k, q·queue]; both directions are summed if `symmetric`.

    With local views: the mean over all directions, theirs included, times 2 if `symmetric`.
    """

    config: MoCoConfig

    def __init__(self, encoder: nn.Module, feature_dim: int, config: MoCoConfig, optim: OptimConfig) -> None:
        super().__init__(encoder, feature_dim, config, optim)
        self.queue = KeyQueue(self.branches.key_dim, config.queue_size)
        if not config.gather_keys:
            # Each rank keeps a queue of its own: DistributedDataParallel would overwrite it with rank 0's before every step.
            self._ddp_params_and_buffers_to_ignore = ["queue.keys", "queue.pointer"]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Contrast with the queue as it was before this batch, in every direction; then push the first direction's keys, once."""
        both_ways = 1 + self.config.symmetric
        directions = self.branches.directions(*batch.views, symmetric=self.config.symmetric)
        negatives = self.queue.snapshot()
        contrasts = [queue_similarities(out.query, keys, negatives) for out, keys in directions]
        loss = both_ways * torch.stack([self._loss(*contrast) for contrast in contrasts]).mean()
        keys = directions[0].keys
        self.queue.push(gather(keys) if self.config.gather_keys else keys)
        return self.report(loss, **self.watch_cosines(directions[:both_ways]), **self.watch_contrast(*contrasts[0]))

    def _loss(self, similarities: Tensor, labels: Tensor) -> Tensor:
        loss = self.config.loss
        return pair_loss(similarities, labels, loss.kind, loss.temperature, loss.eqco_alpha, self.queue.size)

    def gauges(self, step: int, images: int) -> dict[str, float]:
        """queue_filled: the share of the queue that holds keys of images, not yet random vectors."""
        loss, ways = self.config.loss, 1 + self.config.symmetric
        pushed = step * images if self.config.gather_keys else step * images // world_size()
        filled = {"queue_filled": min(1.0, pushed / self.queue.size)}
        if loss.kind != "ce":
            return filled
        return filled | {"loss_at_chance": self.config.loss_scale * ways * math.log1p(loss.eqco_alpha or self.queue.size)}
