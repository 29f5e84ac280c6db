"""Shorter vectors that lose least: principal components, fitted on training images when an encoder is exported.

Of all projections to k dimensions, the first k components keep the most variance (Pearson 1901; Jolliffe 2002, ch. 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from ssl_core.inference.base import Vectors


@dataclass(frozen=True)
class Projection:
    """mean float32 (dim,), components float32 (most, dim) with orthonormal rows, explained float32 (most,): the share of the
    training images' variance that each component carries, falling, at most 1 in sum."""

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    explained: NDArray[np.float32]

    @classmethod
    def fit(cls, vectors: Vectors) -> Projection:
        """Of vectors (N, dim), N ≥ 2: min(N - 1, dim) components, each with its largest entry positive."""
        values = vectors.astype(np.float64)
        mean = values.mean(0)
        _, scales, rows = np.linalg.svd(values - mean, full_matrices=False)
        most = min(len(values) - 1, values.shape[1])
        rows, variances = rows[:most], scales[:most] ** 2
        rows *= np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))  # the sign is free: let it not be chance
        total = max(float((scales**2).sum()), 1e-300)
        return cls(*(each.astype(np.float32) for each in (mean, rows, variances / total)))

    @property
    def most(self) -> int:
        """The most dimensions it can give."""
        return len(self.components)

    def __call__(self, vectors: Vectors, dimensions: int) -> Vectors:
        """(N, dim) -> (N, dimensions): coordinates along the first components, from the training images' mean."""
        return ((vectors - self.mean) @ self.components[:dimensions].T).astype(np.float32, copy=False)

    def kept(self, dimensions: int) -> float:
        """The share of the training images' variance that so many components keep."""
        return min(1.0, float(self.explained[:dimensions].sum()))

    def dump(self) -> bytes:
        """The content of its file."""
        return safetensors.numpy.save({"mean": self.mean, "components": self.components, "explained": self.explained})

    @classmethod
    def read(cls, content: bytes) -> Projection:
        """From the content of its file. Raises ValueError."""
        try:
            arrays = safetensors.numpy.load(content)
            found = cls(arrays["mean"], arrays["components"], arrays["explained"])
        except (safetensors.SafetensorError, KeyError) as error:
            raise ValueError(f"not a projection: {error}") from error
        if found.components.ndim != 2 or found.mean.shape != found.components.shape[1:]:
            raise ValueError("not a projection: shapes do not fit each other")
        if found.explained.shape != found.components.shape[:1]:
            raise ValueError("not a projection: shapes do not fit each other")
        return found
