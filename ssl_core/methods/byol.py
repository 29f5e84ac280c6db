"""BYOL: predict what a slowly moving average of the network makes of the other view. No negatives.

The predictor, the stop-gradient on the target and batch norm's view of the batch keep the constant answer away.
The loss is loss_scale·(1 - mean⟨q, k⟩): at 2, the default, the paper's 2 - 2⟨q, k⟩ = ‖q - k‖²; at 1 exactly half of it.

Grill et al. 2020, arXiv:2006.07733. Served: the online encoder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssl_core.methods.base import Method
from ssl_core.parts.branches import Direction
from ssl_core.parts.pair_loss import pair_loss
from ssl_core.parts.precision import paired_similarity
from ssl_core.spec.methods import BYOLConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


class BYOL(Method):
    """Loss: the mean over images of the loss on q·k alone; both directions are summed if `symmetric`, as in the paper.

    With local views: the mean over all directions, theirs included, times 2 if `symmetric`.
    """

    config: BYOLConfig

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Predict the keys of one view from the other, and those of both from each local view."""
        both_ways = 1 + self.config.symmetric
        directions = self.branches.directions(*batch.views, symmetric=self.config.symmetric)
        loss = both_ways * torch.stack([self._loss(each) for each in directions]).mean()
        return self.report(loss, **self.watch_cosines(directions[:both_ways]))

    def _loss(self, direction: Direction) -> Tensor:
        positive = paired_similarity(direction.out.query, direction.keys).unsqueeze(1)  # (N, 1): no negatives beside it
        labels = torch.zeros(len(positive), dtype=torch.long, device=positive.device)
        return pair_loss(positive, labels, self.config.loss.kind, self.config.loss.temperature)
