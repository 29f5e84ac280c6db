"""Pictures as sequences of patches: cut, put together, selected, and guessed by a small transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def patchify(images: Tensor, patch: int) -> Tensor:
    """Images (N, C, H, W) → patches (N, L, patch²·C), row by row; within a patch: row, column, channel.

    H and W are multiples of `patch`, and L = H·W / patch².
    """
    n, channels, height, width = images.shape
    grid = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * channels)


def unpatchify(patches: Tensor, patch: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `patchify`: patches (N, L, patch²·C) of a grid of (rows, columns) → images (N, C, H, W)."""
    rows, columns = grid
    cut = patches.reshape(len(patches), rows, columns, patch, patch, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, rows * patch, columns * patch)


def select(tokens: Tensor, index: Tensor) -> Tensor:
    """Of tokens (N, L, D) those that index, int64 (N, K), names: (N, K, D)."""
    return tokens.gather(1, index.unsqueeze(2).expand(-1, -1, tokens.shape[2]))


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed positions float32 (rows·columns, width) in two dimensions (Vaswani et al. 2017; MoCo v3, section 4.1).

    A quarter each: sines and cosines of the column, sines and cosines of the row, at frequencies 10000^(-4i/width).
    """
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = (torch.arange(side, dtype=torch.float64).unsqueeze(1) * frequencies for side in grid)
    row, column = (torch.cat([angles.sin(), angles.cos()], dim=1) for angles in (rows, columns))
    column, row = column.repeat(grid[0], 1), row.repeat_interleave(grid[1], dim=0, output_size=grid[0] * grid[1])
    return torch.cat([column, row], dim=1).float()


def plain_transformer(encoder: nn.Module) -> Any:
    """The backbone, if it is a vision transformer of timm's from which patches can be hidden. Raises ValueError.

    Each patch is projected by itself, positions are added before the first block, and the last norm, not an attention of its
    own, makes features of tokens.
    """
    from timm.layers.patch_embed import PatchEmbed  # takes a second
    from timm.models.vision_transformer import VisionTransformer

    backbone = getattr(encoder, "backbone", encoder)
    arch = getattr(encoder, "arch", type(backbone).__name__)
    if not isinstance(backbone, VisionTransformer):
        why = "is no plain vision transformer"
    elif type(backbone.patch_embed) is not PatchEmbed or len(set(backbone.patch_embed.patch_size)) > 1:
        why = "does not project square patches one by one"
    elif backbone.pos_embed is None:
        why = "adds no positions to its patches"
    elif backbone.attn_pool is not None:
        why = "pools by an attention, which mae does not train"
    else:
        return backbone
    raise ValueError(
        f"encoder.arch = '{arch}' {why}; mae hides patches from timm/vit_… or timm/deit…: use timm/vit_small_patch16_224"
    )


def fix_positions(backbone: Any) -> None:
    """Give a `plain_transformer` the positions of `sincos_positions`, for good; tokens that are no patches get 0."""
    positions = backbone.pos_embed
    fixed = sincos_positions(backbone.patch_embed.grid_size, positions.shape[2])
    with torch.no_grad():
        positions.zero_()
        positions[0, positions.shape[1] - len(fixed) :] = fixed
    positions.requires_grad_(False)


class PatchDecoder(nn.Module):
    """A transformer that guesses hidden patches from the tokens of those seen (section 3 of the MAE paper)."""

    positions: Tensor  # float32 (L, width), fixed

    def __init__(self, dim: int, grid: tuple[int, int], pixels: int, depth: int, width: int, heads: int) -> None:
        """dim: of the tokens that come in. grid: rows and columns of patches. pixels: numbers in a patch, channels included."""
        from timm.models.vision_transformer import Block  # takes a second

        super().__init__()
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width).normal_(std=0.02))
        self.register_buffer("positions", sincos_positions(grid, width), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.guess = nn.Linear(width, pixels)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, prefix: Tensor, tokens: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
        """Guesses (N, M, pixels) for the patches hidden, int64 (N, M), from tokens (N, K, dim) of those seen, int64 (N, K).

        prefix (N, P, dim): tokens that stand for no place. A transformer does not mind the order of its tokens, so that
        those of hidden patches, one learned vector and their positions, simply come last.
        """
        n, count = hidden.shape
        known = self.embed(torch.cat([prefix, tokens], dim=1))
        places = self.positions[torch.cat([seen, hidden], dim=1)]  # (N, L, width)
        before, after = known.split([prefix.shape[1], tokens.shape[1]], dim=1)
        patches = torch.cat([after, self.mask_token.to(after.dtype).expand(n, count, -1)], dim=1)
        x = torch.cat([before, patches + places.to(patches.dtype)], dim=1)
        guesses: Tensor = self.guess(self.norm(self.blocks(x)[:, -count:]))
        return guesses
