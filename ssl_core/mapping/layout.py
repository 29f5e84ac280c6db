"""Where each picture lies: principal components, then UMAP on the neighbours that are known already.

McInnes, Healy & Melville, "UMAP: Uniform Manifold Approximation and Projection for Dimension Reduction", 2018, by the authors'
library. It starts from the first two principal components, which keeps the large distances meaningful (Kobak & Linderman,
"Initialization is critical for preserving global data structure in both t-SNE and UMAP", 2021). One thread and a seed: the same
map each time.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

COMPONENTS = 50
SPREAD = 10.0  # of the start, in each direction: what the library takes
Told = Callable[[int, int], None]  # (epochs done, epochs)


def principal(batches: Iterable[NDArray[np.float32]], dim: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (dim,) and the first components (dim, at most COMPONENTS) of all vectors, largest first, of fixed sign."""
    count, total, squares = 0, np.zeros(dim), np.zeros((dim, dim))
    for vectors in batches:
        count += len(vectors)
        total += vectors.sum(0, dtype=np.float64)
        squares += vectors.T @ vectors  # float32 within a batch of some thousands, float64 over all of them
    mean = total / max(count, 1)
    _, vectors64 = np.linalg.eigh(squares / max(count, 1) - np.outer(mean, mean))
    found = vectors64[:, ::-1][:, :COMPONENTS]
    sign = np.sign(found[np.abs(found).argmax(0), np.arange(found.shape[1])])
    return mean, np.ascontiguousarray(found * np.where(sign == 0, 1, sign))


def umap(
    reduced: NDArray[np.float32],
    rows: NDArray[np.int32],
    scores: NDArray[np.float32],
    *,
    min_dist: float,
    seed: int,
    told: Told = lambda done, total: None,
) -> NDArray[np.float32]:
    """Positions float32 (N, 2), their middle at 0, of `reduced` (N, components) with the nearest others (N, k) and their cosines.

    `told` is called every half second or so, and may raise. The first call compiles: some 10 seconds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not installed, and of transform, which is not needed
        from umap import UMAP

        count = len(reduced)
        own = np.arange(count, dtype=np.int64)[:, None]
        there = rows >= 0
        far = np.nanmax(np.where(there, 1 - scores, 0), initial=0.0)
        indices = np.hstack([own, np.where(there, rows, own)])  # a missing neighbour: the picture itself, which pulls at nothing
        distances = np.hstack([np.zeros((count, 1)), np.where(there, np.maximum(1 - scores, 0), far)]).astype(np.float32)
        model = UMAP(
            n_neighbors=min(indices.shape[1], count - 1),
            min_dist=min_dist,
            init=_start(reduced, seed),
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(indices, distances),
            force_approximation_algorithm=True,  # else the library looks for the neighbours of few pictures itself
            tqdm_kwds={"disable": False, "file": _Bar(told), "mininterval": 0.5, "bar_format": "{n_fmt}/{total_fmt} "},
        )
        positions = np.asarray(model.fit_transform(reduced), np.float32)
    lost = ~np.isfinite(positions).all(1)  # the library leaves out what is connected to nothing
    positions[lost] = 0
    return positions - positions[~lost].mean(0) if not lost.all() else positions


def _start(reduced: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The first two components, SPREAD wide, and a little noise that parts copies: float32 (N, 2)."""
    first = np.zeros((len(reduced), 2), np.float32)
    first[:, : reduced.shape[1]] = reduced[:, :2]
    widest = float(np.abs(first).max())
    noise = np.random.default_rng(seed).normal(scale=1e-4, size=first.shape)
    return (first * (SPREAD / max(widest, 1e-12)) + noise).astype(np.float32)


class _Bar(io.StringIO):
    """The file that the library writes its progress bar to: "37/200 " again and again. What `told` raises ends the fit."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self.told = told

    def write(self, text: str) -> int:
        for done, total in re.findall(r"(\d+)/(\d+) ", text):
            self.told(int(done), int(total))
        return len(text)


def placed(rows: NDArray[np.int32], scores: NDArray[np.float32], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positions (N, 2) of pictures that were not fitted: the mean of their nearest landmarks' (rows and cosines, (N, k)), the
    nearer the heavier. The same start that UMAP's own transform makes before it refines it."""
    distance = np.where(rows >= 0, np.maximum(1 - scores, 0), np.inf)
    nearest = distance.min(1, keepdims=True)
    scale = np.maximum(np.where(np.isfinite(distance), distance, 0).mean(1, keepdims=True) - nearest, 1e-6)
    weight = np.exp(-(distance - nearest) / scale)
    weight /= weight.sum(1, keepdims=True)
    return np.asarray((weight[:, :, None] * landmarks[np.maximum(rows, 0)]).sum(1), np.float32)
