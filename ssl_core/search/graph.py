"""The one place that knows the library of nearest neighbours: HNSW by usearch (docs/decisions/0013-nearest-neighbours.md)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINKS, BUILD_EFFORT, EFFORT = 16, 128, 64  # of a node; candidates looked at when it is added, and when it is searched for
DTYPE = "f16"
EXACT = 16_384  # vectors up to which all are compared: a millisecond for 512 numbers each, and no picture is missed


def library() -> str:
    """Its name and version."""
    return f"usearch {version('usearch')}"


class Graph:
    """Rows 0 … N-1 by cosine. Not safe for several threads at once."""

    def __init__(self, dim: int, dtype: str = DTYPE) -> None:
        from usearch.index import Index  # here, so that the API imports it with its first search

        self._index: Any = Index(
            ndim=dim,
            metric="cos",
            dtype=dtype,
            connectivity=LINKS,
            expansion_add=BUILD_EFFORT,
            expansion_search=EFFORT,
            enable_key_lookups=False,  # keys are row numbers, nobody looks them up
        )

    def __len__(self) -> int:
        return len(self._index)

    def add(self, first: int, vectors: NDArray[np.float32], threads: int) -> None:
        """Rows first, first + 1, … are these vectors (N, dim)."""
        self._index.add(np.arange(first, first + len(vectors), dtype=np.uint64), vectors, threads=threads)

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    def view(self, path: Path) -> None:
        """Search the file by a memory map; it may be unlinked meanwhile."""
        self._index.view(str(path))

    def search(self, vectors: NDArray[np.float32], k: int, threads: int = 1) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """For (Q, dim) vectors: rows int32 (Q, k) and their cosines float32 (Q, k), best first; -1, NaN where there are fewer.

        Exact among at most EXACT vectors; among more the graph's links are followed, which do not lead to every one.
        """
        found = self._index.search(vectors, k, threads=threads, exact=len(self) <= EXACT)
        keys, distances = (np.asarray(each).reshape(len(vectors), -1) for each in (found.keys, found.distances))
        counts = np.asarray(getattr(found, "counts", [keys.shape[1]])).reshape(-1, 1)
        rows = np.full((len(vectors), k), -1, np.int32)
        scores = np.full((len(vectors), k), np.nan, np.float32)
        width = min(k, keys.shape[1])
        filled = np.arange(width) < counts
        rows[:, :width] = np.where(filled, keys[:, :width].astype(np.int64), -1)
        scores[:, :width][filled] = np.clip(1 - distances[:, :width][filled], -1, 1)
        return rows, scores
