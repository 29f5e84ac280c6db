"""The queue of past keys that MoCo uses as negatives (He et al. 2019, arXiv:1911.05722, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyQueue(nn.Module):
    """A ring of the last `size` keys of `dim` numbers, in buffers, so that checkpoints carry it.

    Starts full of random unit vectors. `size` need not be a multiple of the batch, and nothing is lost where the ring closes.
    The pointer lives on the device: pushing never waits for it.
    """

    keys: Tensor  # (size, dim) float32
    pointer: Tensor  # () int64, the row that the next key overwrites: the oldest one

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        if dim < 1 or size < 1:
            raise ValueError(f"a queue needs dim and size of at least 1, not {dim} and {size}")
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @property
    def size(self) -> int:
        """K, the number of keys held."""
        return self.keys.shape[0]

    def snapshot(self) -> Tensor:
        """The keys (size, dim) as they are now. A copy: a push before the backward pass must not change what the loss saw."""
        return self.keys.clone()

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Overwrite the oldest rows with `keys` (N, dim). Of more than `size` keys, the last `size` remain."""
        count = keys.shape[0]
        kept = keys.detach()[-self.size :].to(self.keys.dtype)
        first = self.pointer + (count - kept.shape[0])
        rows = (first + torch.arange(kept.shape[0], device=self.keys.device)) % self.size
        self.keys.index_copy_(0, rows, kept)
        self.pointer.copy_((self.pointer + count) % self.size)
