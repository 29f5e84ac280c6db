"""What is an encoder good for? The accuracy of a nearest neighbour that knows a few labels. Plain numpy, pure functions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


def unit(vectors: Vectors) -> Vectors:
    """(N, D) scaled to length 1, so that a dot product is a cosine; a zero vector stays zero."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def accuracy(bank: Vectors, bank_labels: Labels, queries: Vectors, labels: Labels, known: int, draws: int = 20) -> float:
    """Percent of `queries` whose nearest known image, by cosine, has their label; the mean over `draws` random choices.

    bank (B, D) and queries (Q, D): features; each draw knows the labels of `known` random bank images of each class. Draw i is
    the same images for every kind of feature.
    """
    bank, queries = unit(bank), unit(queries)
    classes = np.unique(bank_labels)
    hits = []
    for draw in range(draws):
        random = np.random.default_rng(draw)
        chosen = np.concatenate([random.choice(np.flatnonzero(bank_labels == each), known, replace=False) for each in classes])
        nearest = chosen[np.argmax(queries @ bank[chosen].T, axis=1)]  # (Q,) into the bank
        hits.append(float(np.mean(bank_labels[nearest] == labels)))
    return 100 * float(np.mean(hits))
