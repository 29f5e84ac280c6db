"""An index that is open: memory-mapped, verified once, safe for several threads."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.search.facts import ENDS, GRAPH, PATHS, ROWS, SCORES, IndexCorrupt, IndexFacts, read_facts, verify
from ssl_core.search.graph import Graph


@dataclass(frozen=True)
class Found:
    """A picture near to what was asked for; `score` is the cosine."""

    path: str
    score: float


class WrongLength(ValueError):
    """A vector that is not of the index's kind."""


class PictureIndex:
    """rows: int32 (N, k), scores: float32 (N, k): nearest others of each picture, best first; -1, NaN where there are fewer."""

    def __init__(self, facts: IndexFacts, graph: Graph, paths: Any, ends: Any, rows: Any, scores: Any) -> None:
        self.facts, self.rows, self.scores = facts, rows, scores
        self._graph, self._paths, self._ends = graph, paths, ends
        self._lock = threading.Lock()  # a search takes a millisecond, and the library's threads share their scratch space

    @classmethod
    def open(cls, folder: Path) -> PictureIndex:
        """Verify and map the files, which may be removed meanwhile. Raises FileNotFoundError, IndexCorrupt."""
        facts = read_facts(folder)
        verify(folder, facts)
        graph = Graph(facts.dim, facts.dtype)
        try:
            graph.view(folder / GRAPH)
            ends, rows, scores = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (ENDS, ROWS, SCORES))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            raise IndexCorrupt(f"{folder.name} cannot be opened: {error}; build the index again") from None
        if len(graph) != facts.count or ends.shape != (facts.count + 1,) or rows.shape != scores.shape:
            raise IndexCorrupt(f"the files of {folder.name} do not fit each other; build the index again")
        paths = np.memmap(folder / PATHS, np.uint8, "r") if ends[-1] else np.zeros(0, np.uint8)
        return cls(facts, graph, paths, ends, rows, scores)

    def __len__(self) -> int:
        return self.facts.count

    def search(self, vector: NDArray[np.float32], k: int) -> list[Found]:
        """The k pictures with the largest cosine to a vector (dim,), best first. Raises WrongLength."""
        if vector.shape != (self.facts.dim,):
            raise WrongLength(f"has {vector.size} numbers; this index is over vectors of {self.facts.dim}")
        unit = (vector / max(float(np.linalg.norm(vector.astype(np.float64))), 1e-30)).astype(np.float32)
        with self._lock:
            rows, scores = self._graph.search(unit[None], k)
        return [Found(self.path(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]

    def path(self, row: int) -> str:
        """Of the picture with this number, relative to the folder that was embedded."""
        return bytes(self._paths[int(self._ends[row]) : int(self._ends[row + 1])]).decode("utf-8", "surrogatepass")
