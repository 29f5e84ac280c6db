"""Whether a backend gives the vectors that the trained network gives."""

from __future__ import annotations

import numpy as np

from ssl_core.inference.base import AT_ONCE, Backend, Images, Vectors

LEAST_COSINE = 0.9995  # of the angle between a backend's vector and fp32 torch's, for the worst of the images looked at
IMAGES = 64  # looked at


def least_cosine(found: Vectors, expected: Vectors) -> float:
    """The smallest cosine between rows (N, dim) of the two; -1 where a value is not finite. Two zero vectors agree."""
    a, b = found.astype(np.float64), expected.astype(np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return -1.0
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = (np.linalg.norm(a, axis=1) == 0) & (np.linalg.norm(b, axis=1) == 0)
    cosines = np.where(both_zero, 1.0, (a * b).sum(1) / np.maximum(lengths, 1e-300))
    return float(cosines.min(initial=1.0))


def all_vectors(backend: Backend, images: Images) -> Vectors:
    """Vectors (N, dim) of any number of images. Requires N ≥ 1."""
    return np.concatenate([backend.vectors(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)])
