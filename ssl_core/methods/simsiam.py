"""SimSiam: predict what one's own network makes of the other view, and never change the answer to suit the prediction.

No negatives, no moving average: the stop-gradient alone keeps the constant answer away (and it needs the predictor). It is
BYOL with a target that is always up to date. The loss is -mean⟨q, k⟩ of unit vectors, averaged over the two directions.

Chen & He 2020, arXiv:2011.10566, algorithm 1. Served: the encoder (there is one).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssl_core.methods.base import Method
from ssl_core.parts.precision import paired_similarity
from ssl_core.spec.methods_siamese import SimSiamConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def negative_similarity(queries: Tensor, keys: Tensor) -> Tensor:
    """-mean⟨q, k⟩ over rows (N, D), a scalar: the negative cosine, in [-1, 1], where the rows are unit vectors (equation 1)."""
    return -paired_similarity(queries, keys).mean()


class SimSiam(Method):
    """Loss: the mean over directions, D(p₁, z₂)/2 + D(p₂, z₁)/2 (equation 4); with local views, over theirs too."""

    config: SimSiamConfig

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Predict each global view's projection from every other view."""
        directions = self.branches.directions(*batch.views, symmetric=True)
        loss = torch.stack([negative_similarity(out.query, keys) for out, keys in directions]).mean()
        return self.report(loss, **self.watch_cosines(directions[:2]))
