"""MoCo v3: tell the other view of the same image from those of the batch, by a predictor against a moving average.

The queue is gone: large batches have negatives enough. Vision transformers are less stable than they look, and random patch
projections that are never trained help (section 4.3 of the paper; `patch_projection: "frozen"`).

Chen, Xie and He 2021, arXiv:2104.02057. Served: the online encoder.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.methods.base import Method
from ssl_core.methods.simclr import cross_view_similarities
from ssl_core.parts.gather import gather, rank
from ssl_core.spec.methods_clustering import MoCoV3Config
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def batch_contrast(similarities: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """2τ·cross-entropy(similarities / τ), the `ctr` of the paper's algorithm 1, a scalar.

    similarities (N, M) of queries with the keys of all ranks, labels (N,) the columns of their own. The factor 2τ makes the
    size of the gradient nearly independent of τ, so that τ can be chosen without the learning rate.
    """
    return 2 * temperature * F.cross_entropy(similarities / temperature, labels)


class MoCoV3(Method):
    """Loss: the contrast of both directions, summed, as in the paper; with local views the mean over all directions, times 2."""

    config: MoCoV3Config

    def __init__(self, encoder: nn.Module, feature_dim: int, config: MoCoV3Config, optim: OptimConfig) -> None:
        if config.patch_projection == "frozen":
            patch_projection(encoder).requires_grad_(False)
        super().__init__(encoder, feature_dim, config, optim)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Every view is a query, the two global ones are keys, those of all ranks and without gradient."""
        directions = self.branches.directions(*batch.views, symmetric=True)
        own = {id(keys): keys for _, keys in directions}  # each once: local views share the keys of global ones
        whole = {name: gather(keys) for name, keys in own.items()}
        contrasts = [cross_view_similarities(out.query, whole[id(keys)], rank() * len(keys)) for out, keys in directions]
        loss = 2 * torch.stack([batch_contrast(*contrast, self.config.temperature) for contrast in contrasts]).mean()
        return self.report(loss, **self.watch_cosines(directions[:2]), **self.watch_contrast(*contrasts[0]))

    def gauges(self, step: int, images: int) -> dict[str, float]:
        """The loss at chance: in both directions all images of the step, on every rank, are equally similar."""
        return {"loss_at_chance": self.config.loss_scale * 4 * self.config.temperature * math.log(images)}


def patch_projection(encoder: nn.Module) -> nn.Module:
    """The layer of a vision transformer that makes tokens of patches, of timm's or torchvision's. Raises ValueError."""
    backbone = getattr(encoder, "backbone", encoder)
    for name in ("patch_embed", "conv_proj"):
        if isinstance(found := getattr(backbone, name, None), nn.Module):
            return found
    raise ValueError(
        f"method.patch_projection = 'frozen': {type(backbone).__name__} has no patches; use 'trained', or a vision transformer"
    )
