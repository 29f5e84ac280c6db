"""SimCLR: tell the other view of the same image from the other images of the batch.

One network makes queries and keys, and the gradient flows through both. NT-Xent uses all 2N - 2 views of the other images;
`cross_view` only their second views, N - 1. EqCo's margin makes either count weigh as alpha would. `decoupled` takes the
positive out of the denominator, for small batches.

Chen et al. 2020, arXiv:2002.05709; EqCo: Zhu et al. 2020, arXiv:2010.01929; DCL: Yeh et al. 2021, arXiv:2110.06848.
Served: the online encoder.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.decoupled import decoupled_cross_entropy, mises_fisher_weights
from ssl_core.parts.gather import gather_with_gradient, rank
from ssl_core.parts.pair_loss import pair_loss
from ssl_core.parts.precision import similarity_matrix
from ssl_core.spec.methods import SimCLRConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def cross_view_similarities(queries: Tensor, keys: Tensor, offset: int = 0) -> tuple[Tensor, Tensor]:
    """Similarities (N, M) of queries (N, D) with the keys (M, D) of the other views; labels (N,).

    Query i's positive is key offset + i: with the keys of all ranks, `offset` is the first of this rank's.
    """
    return similarity_matrix(queries, keys), torch.arange(len(queries), device=queries.device) + offset


def two_view_similarities(
    queries_a: Tensor, queries_b: Tensor, keys_a: Tensor, keys_b: Tensor, offset: int = 0
) -> tuple[Tensor, Tensor]:
    """Similarities (2N, 2M - 1) of all queries (N, D each) with all keys (M, D each) but the query's own view; labels (2N,).

    The columns are a's keys, then b's, without the one of the same image *and* view, which would be found at no effort.
    NT-Xent is the cross-entropy of this at a temperature.
    """
    n, m = len(queries_a), len(keys_a)
    similarities = similarity_matrix(torch.cat([queries_a, queries_b]), torch.cat([keys_a, keys_b]))  # (2N, 2M)
    image = torch.arange(n, device=similarities.device) + offset
    own = torch.cat([image, image + m]).unsqueeze(1)
    columns = torch.arange(2 * m - 1, device=similarities.device).expand(2 * n, -1)
    others = similarities.gather(1, columns + (columns >= own))  # from `own` on, each column moves one to the left
    return others, torch.cat([image + m - 1, image])


class SimCLR(Method):
    """Loss: nt_xent, the mean over the 2N views; cross_view, the mean over N queries, summed over directions if `symmetric`.

    With local views: the mean over all directions, theirs included, times 2 for a `symmetric` cross_view. A local query meets
    the same number of negatives as a global one: for nt_xent, of its own image only the key it is to find is left in.
    """

    config: SimCLRConfig

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Contrast within the batch, of all ranks when distributed (with gradient to the rank that made a key)."""
        paired = self.config.negatives == "nt_xent"
        symmetric = paired or self.config.symmetric
        directions = self.branches.directions(*batch.views, symmetric=symmetric)
        contrasts = self._both_views(directions) if paired else self._cross_view(directions)
        both_ways = 2 if symmetric and not paired else 1  # a contrast of both views is a mean over two directions
        loss = both_ways * torch.stack([self._loss(*contrast) for contrast in contrasts]).mean()
        return self.report(loss, **self.watch_cosines(directions[: 1 + symmetric]), **self.watch_contrast(*contrasts[0]))

    def _both_views(self, directions: list[Direction]) -> list[tuple[Tensor, Tensor]]:
        """Both global views together, then each local view, once for the keys of either."""
        (out_a, keys_b), (out_b, keys_a), *local = directions
        offset = rank() * len(keys_a)
        keys_a, keys_b = gather_with_gradient(keys_a), gather_with_gradient(keys_b)
        queries = [(out_a.query, out_b.query), *((out.query, out.query) for out, _ in local[::2])]
        return [two_view_similarities(a, b, keys_a, keys_b, offset) for a, b in queries]

    def _cross_view(self, directions: list[Direction]) -> list[tuple[Tensor, Tensor]]:
        own = {id(keys): keys for _, keys in directions}  # each once: local views share the keys of global ones
        whole = {name: gather_with_gradient(keys) for name, keys in own.items()}
        return [cross_view_similarities(out.query, whole[id(keys)], rank() * len(keys)) for out, keys in directions]

    def _loss(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """EqCo's count is 2N - 2 for NT-Xent; for cross_view N, the batch, as in the reference implementation."""
        if self.config.decoupled != "off":
            return self._decoupled(similarities, labels)
        loss, columns = self.config.loss, similarities.shape[1]
        negatives = columns - 1 if self.config.negatives == "nt_xent" else columns
        return pair_loss(similarities, labels, loss.kind, loss.temperature, loss.eqco_alpha, negatives)

    def _decoupled(self, similarities: Tensor, labels: Tensor) -> Tensor:
        """DCL; for dclw, the rows of each direction (NT-Xent has two) are weighed among themselves."""
        weights = None
        if self.config.decoupled == "dclw":
            positives = similarities.gather(1, labels.unsqueeze(1)).view(2 if self.config.negatives == "nt_xent" else 1, -1)
            weights = mises_fisher_weights(positives, self.config.decoupled_sigma).flatten()
        return decoupled_cross_entropy(similarities, labels, self.config.loss.temperature, weights)

    def gauges(self, step: int, images: int) -> dict[str, float]:
        """The loss at chance: all 2N - 1 candidates of nt_xent, or N of cross_view, equally similar; one less if decoupled."""
        config, paired = self.config, self.config.negatives == "nt_xent"
        if config.loss.kind != "ce":
            return {}
        negatives = 2 * images - 2 if paired else images - 1
        margin = 1.0 if config.loss.eqco_alpha is None else config.loss.eqco_alpha / (negatives if paired else images)
        ways = 2 if config.symmetric and not paired else 1
        chance = math.log1p(margin * negatives) if config.decoupled == "off" else math.log(negatives)
        return {"loss_at_chance": config.loss_scale * ways * chance}
