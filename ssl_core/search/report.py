"""What a data set has too much of and what stands apart, from the neighbours that an index holds. Nothing is searched again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ROWS = 65_536  # looked at at a time


class Neighbours(Protocol):
    """What knows the nearest others of each picture: an index, a map. rows int32, scores float32 (N, k); -1, NaN: fewer."""

    @property
    def rows(self) -> Any: ...

    @property
    def scores(self) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Group:
    """Pictures that are linked by pairs above the threshold. lowest, highest: cosines of those pairs."""

    rows: NDArray[np.int64]
    lowest: float
    highest: float


@dataclass(frozen=True)
class Duplicates:
    """Groups, the largest first, then by the highest cosine. label: int32 (N,), the number of each picture's group, or -1."""

    groups: list[Group]
    label: NDArray[np.int32]

    @property
    def extra(self) -> int:
        """Pictures beyond the first of each group: so many could go."""
        return sum(len(group.rows) - 1 for group in self.groups)


def duplicates(index: Neighbours, threshold: float) -> Duplicates:
    """Groups of pictures whose cosine is at least `threshold`, by union of all pairs among the neighbours."""
    from scipy.sparse import coo_array  # takes a while to import, and few ask
    from scipy.sparse.csgraph import connected_components

    left, right, score = _pairs(index, threshold)
    label = np.full(len(index), -1, np.int32)
    if not len(left):
        return Duplicates([], label)
    members, ends = np.unique(np.concatenate([left, right]), return_inverse=True)
    one, other = ends[: len(left)], ends[len(left) :]
    edges = coo_array((np.ones(len(left), np.int8), (one, other)), shape=(len(members), len(members)))
    number, component = connected_components(edges, directed=False)
    lowest, highest = np.full(number, np.inf, np.float32), np.full(number, -np.inf, np.float32)
    np.minimum.at(lowest, component[one], score)
    np.maximum.at(highest, component[one], score)
    sizes = np.bincount(component, minlength=number)
    order = np.lexsort((-highest, -sizes))
    rank = np.empty(number, np.int32)
    rank[order] = np.arange(number)
    label[members] = rank[component]
    rows = np.split(members[np.argsort(rank[component], kind="stable")], np.cumsum(sizes[order])[:-1])
    groups = [Group(each, float(lowest[at]), float(highest[at])) for each, at in zip(rows, order, strict=True)]
    return Duplicates(groups, label)


def _pairs(index: Neighbours, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    for begin in range(0, len(index), ROWS):
        scores = np.asarray(index.scores[begin : begin + ROWS])
        at, place = np.nonzero(scores >= np.float32(threshold))  # NaN is not
        found.append((at + begin, np.asarray(index.rows[begin : begin + ROWS])[at, place].astype(np.int64), scores[at, place]))
    left, right, score = (np.concatenate(each) for each in zip(*found, strict=True))
    return left, right, score


def distances(index: Neighbours) -> NDArray[np.float32]:
    """The mean of 1 - cosine to the nearest others of each picture, float32 (N,); 0 for a picture that is alone."""
    found = np.zeros(len(index), np.float32)
    for begin in range(0, len(index), ROWS):
        scores = np.asarray(index.scores[begin : begin + ROWS])
        there = ~np.isnan(scores)
        total = np.where(there, 1 - scores, 0).sum(1)
        found[begin : begin + ROWS] = total / np.maximum(there.sum(1), 1)
    return found


def outliers(distance: NDArray[np.float32], begin: int, end: int) -> NDArray[np.int64]:
    """Numbers of the pictures farthest from all others, places begin to end of that order."""
    end = min(end, len(distance))
    if begin >= end:
        return np.zeros(0, np.int64)
    first = np.argpartition(-distance, end - 1)[:end]
    return first[np.lexsort((first, -distance[first]))][begin:end]
