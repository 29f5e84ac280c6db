"""What every backend does."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, S, S, 3) RGB, as `ssl_core.data.images.load_square` gives them
Vectors = NDArray[np.float32]  # (N, dim)
Grids = NDArray[np.float32]  # (N, rows, columns, dim): local features, from top left to bottom right

AT_ONCE = 64  # images in one pass through the network: bounds the memory of its activations


class NoGrid(ValueError):
    """The network has no local features that belong to places of the picture."""


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors (…, dim) scaled to length 1; what is zero stays zero. The same wherever `normalize` is asked for."""
    scaled: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return scaled


class Backend(Protocol):
    """A frozen network on some hardware. May be called from several threads at once."""

    name: str  # "openvino" or "torch"
    precision: str  # "fp32" or "bf16": of the multiplications; what goes in and comes out is as below

    def vectors(self, images: Images) -> Vectors:
        """One vector per image; at most AT_ONCE images."""
        ...

    def grids(self, images: Images) -> Grids:
        """Local features. Raises NoGrid."""
        ...
