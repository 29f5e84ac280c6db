"""The nearest others of every vector, by cosine: the graph of ssl_core/search, filled from any source of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ssl_core.search.build import others
from ssl_core.search.graph import Graph

Batches = Iterable[NDArray[np.float32]]  # unit vectors, (N, dim) each
Done = Callable[[int], None]  # so many vectors by now


def graph_of(batches: Batches, dim: int, threads: int, done: Done) -> Graph:
    """All vectors, in a graph."""
    graph = Graph(dim)
    for vectors in batches:
        graph.add(len(graph), vectors, threads)
        done(len(graph))
    return graph


def nearest_others(
    graph: Graph, batches: Batches, k: int, threads: int, done: Done
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Rows int32 and cosines float32 (N, k) of each vector's nearest others, best first; -1 and NaN where there are fewer.

    batches: the vectors that the graph was made of, in the same order.
    """
    rows = np.empty((len(graph), k), np.int32)
    scores = np.empty((len(graph), k), np.float32)
    begin = 0
    for vectors in batches:
        end = begin + len(vectors)
        found, cosines = graph.search(vectors, k + 1, threads)
        rows[begin:end], scores[begin:end] = others(np.arange(begin, end), found, cosines)
        begin = end
        done(begin)
    return rows, scores


def apart(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outlier score of ssl_core/search/report.py: the mean of 1 - cosine (N, k) to the nearest others, float32 (N,)."""
    there = ~np.isnan(scores)
    total = np.where(there, 1 - scores, 0).sum(1)
    return np.asarray(total / np.maximum(there.sum(1), 1), np.float32)
