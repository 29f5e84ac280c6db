"""MAE: hide most patches of a picture, and have a small decoder guess their pixels from what an encoder made of the others.

The encoder never sees the hidden patches, so that its pass is cheap, and no pair of images is ever compared: there are no
negatives, no target network and nothing that could collapse into a constant answer. It learns what is where, not what views
leave alone, and needs weak views and long training.

He et al. 2021, arXiv:2111.06377. Served: the encoder, which then sees the whole image. The decoder is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssl_core.methods.base import Method
from ssl_core.parts.patches import PatchDecoder, fix_positions, patchify, plain_transformer, select
from ssl_core.parts.precision import at_least_float32
from ssl_core.spec.methods_reconstruction import MAEConfig
from ssl_core.spec.training import OptimConfig

if TYPE_CHECKING:
    from ssl_core.data.batch import Batch


def random_masking(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Which of L patches are seen, int64 (N, K), and which are hidden, int64 (N, L - K): seen where the noise (N, L) is least.

    K = int(L·(1 - ratio)), as in the paper's code, but at least 1 and at most L - 1.
    """
    patches = noise.shape[1]
    seen = min(max(int(patches * (1 - ratio)), 1), patches - 1)
    order = noise.argsort(dim=1)
    return order[:, :seen], order[:, seen:]


def masked_loss(guesses: Tensor, patches: Tensor, hidden: Tensor, normalize: bool = True) -> Tensor:
    """Mean squared error over the pixels of hidden patches only, a scalar.

    guesses (N, M, D), patches (N, L, D) of pixels, hidden int64 (N, M): which of them are guessed. normalize: each patch less
    its mean, over its standard deviation (with D - 1, and ε = 1e-6 under the root), as in the paper's code. A decoder that
    guesses nothing but the mean then comes to (D - 1) / D, nearly 1.
    """
    targets = select(patches, hidden)
    if normalize:
        variance, mean = torch.var_mean(targets, dim=2, keepdim=True)
        targets = (targets - mean) / (variance + 1e-6).sqrt()
    return (guesses - targets).square().mean()


class MAE(Method):
    """Loss: that of the first of the two views; the other is not looked at."""

    config: MAEConfig

    def __init__(self, encoder: nn.Module, feature_dim: int, config: MAEConfig, optim: OptimConfig) -> None:
        backbone = plain_transformer(encoder)
        if config.positions == "sincos":
            fix_positions(backbone)
        super().__init__(encoder, feature_dim, config, optim)
        embed = backbone.patch_embed
        self.patch: int = embed.patch_size[0]
        self.decoder = PatchDecoder(
            feature_dim,
            grid=embed.grid_size,
            pixels=self.patch**2 * embed.proj.in_channels,
            depth=config.decoder_depth,
            width=config.decoder_width,
            heads=config.decoder_heads,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """New patches are hidden in each step, by torch's generator on the CPU, whose state a checkpoint holds."""
        view = batch.views[0]
        patches = patchify(at_least_float32(view.detach()), self.patch)
        noise = torch.rand(patches.shape[:2]).to(view.device, non_blocking=True)
        seen, hidden = random_masking(noise, self.config.mask_ratio)
        prefix, tokens = self.encode(view, seen)
        guesses = at_least_float32(self.decoder(prefix, tokens, seen, hidden))
        return self.report(masked_loss(guesses, patches, hidden, self.config.normalize_pixels))

    def encode(self, view: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of a view (N, C, S, S) whose patches `seen`, int64 (N, K), are all that is let in.

        (N, P, dim), those that stand before the patches' (class, registers), and (N, K, dim).
        """
        backbone: Any = plain_transformer(self.branches.encoder)
        x = backbone._pos_embed(backbone.patch_embed(view))  # each patch by itself, so that nothing of its neighbours is in it
        before = backbone.num_prefix_tokens
        x = torch.cat([x[:, :before], select(x[:, before:], seen)], dim=1)
        x = backbone.norm(backbone.blocks(backbone.norm_pre(x)))
        self.branches.seen = backbone.forward_head(x).detach()  # pooled as what is served: health watches it
        x = backbone.fc_norm(x)  # where the last norm stands after pooling: it is trained like the others
        return x[:, :before], x[:, before:]
