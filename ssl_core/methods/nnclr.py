"""NNCLR: the positive of a view is not the other view itself, but its nearest neighbour among past images.

The neighbour is another picture, often of the same kind: more than any augmentation could draw. A queue holds the past
projections (the support set), in which a neighbour carries no gradient; the predictions of the other images are the negatives.

Dwibedi et al. 2021, arXiv:2104.14548, equation 4 and algorithm 1. Served: the encoder (there is one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ssl_core.methods.base import Method
from ssl_core.methods.simclr import cross_view_similarities, two_view_similarities
from ssl_core.parts.gather import gather, gather_with_gradient, rank
from ssl_core.parts.pair_loss import cross_entropy
from ssl_core.parts.precision import paired_similarity, similarity_matrix
from ssl_core.parts.queue import KeyQueue
from ssl_core.spec.methods_siamese import NNCLRConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


@torch.no_grad()
def nearest(keys: Tensor, support: Tensor) -> Tensor:
    """For each key (N, D) the row of the support (K, D) most similar to it: (N, D), without gradient."""
    return support.index_select(0, similarity_matrix(keys, support).argmax(dim=1))


class NNCLR(Method):
    """Loss: the mean over both directions of the cross-entropy of finding p_i from nn(z_i), at the temperature; with local
    views, whose predictions are sought from the neighbours of both global ones, over theirs too."""

    config: NNCLRConfig

    def __init__(self, encoder: nn.Module, feature_dim: int, config: NNCLRConfig, optim: OptimConfig) -> None:
        super().__init__(encoder, feature_dim, config, optim)
        self.queue = KeyQueue(self.branches.key_dim, config.queue_size)  # the same in every rank: all push all keys

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Find each prediction from the other view's neighbour; then push the first view's projections, of all ranks, once."""
        directions = self.branches.directions(*batch.views, symmetric=True)
        support = self.queue.snapshot()
        found = {id(keys): nearest(keys, support) for _, keys in directions}  # local views share the keys of global ones
        contrasts = [self._contrast(found[id(keys)], out.query) for out, keys in directions]
        loss = torch.stack([cross_entropy(*contrast, self.config.temperature) for contrast in contrasts]).mean()
        keys_b, keys_a = directions[0].keys, directions[1].keys
        closeness = paired_similarity(keys_b, found[id(keys_b)]).mean()
        self.queue.push(gather(keys_a))
        watched = {**self.watch_cosines(directions[:2]), **self.watch_contrast(*contrasts[0])}
        return self.report(loss, neighbour_cosine=closeness, **watched)

    def _contrast(self, neighbours: Tensor, predictions: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities and labels of this rank's neighbours (N, D) with the predictions (N, D) of all ranks.

        cross_view: (N, M), a neighbour looks for its prediction. nt_xent: (2N, 2M - 1), and the other way round.
        """
        offset = rank() * len(neighbours)
        everyone = gather_with_gradient(predictions)
        if self.config.negatives == "cross_view":
            return cross_view_similarities(neighbours, everyone, offset)
        return two_view_similarities(neighbours, predictions, gather(neighbours), everyone, offset)
