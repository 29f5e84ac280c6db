"""Batches with local views."""

from __future__ import annotations

import torch

from ssl_core.data.batch import Batch


def with_local(batch: Batch, count: int) -> Batch:
    """The batch and `count` local views of 4×4 pixels, always the same."""
    generator = torch.Generator().manual_seed(7)
    local = [torch.randn(len(batch.views[0]), 3, 4, 4, generator=generator) for _ in range(count)]
    return batch._replace(views=(*batch.views, *local))
