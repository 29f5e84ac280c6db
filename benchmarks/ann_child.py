"""The measurements of ann.py that are taken in processes of their own, a build and a search in one each.

python ann_child.py '{"what": "build", "name": "…", "folder": "…", "threads": 2}'      prints JSON
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from ann_libraries import LIBRARIES
from measure import answer, resident


def recall(found: Any, true: Any) -> float:
    """The share of the true neighbours that were found; both (Q, k)."""
    hits = sum(len(np.intersect1d(one, other)) for one, other in zip(found, true, strict=True))
    return hits / true.size


def build(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """Write the index of a library."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    began, worked = time.perf_counter(), time.process_time()
    LIBRARIES[name][1].build(vectors, folder / "index", threads)
    return {"build": time.perf_counter() - began, "cpu": time.process_time() - worked, "bytes": (folder / "index").stat().st_size}


def search(name: str, folder: Path, k: int) -> dict[str, Any]:
    """Open it and ask one query after the other. Memory: what that added to the process, mapped pages included."""
    library = LIBRARIES[name][1]
    queries, true = np.load(folder / "queries.npy"), np.load(folder / "true.npy")
    if name.startswith("exact"):
        queries, true = queries[:30], true[:30]
    before = resident()
    began = time.perf_counter()
    library.open(folder / "index", queries.shape[1])
    opened = time.perf_counter() - began
    for query in queries[:50]:
        library.search(query[None], k, max(library.efforts))  # what is on the disk only costs once
    efforts = []
    for effort in library.efforts:
        found, took = [], []
        for query in queries:
            began = time.perf_counter()
            found.append(library.search(query[None], k, effort)[0])
            took.append(1000 * (time.perf_counter() - began))
        p50, p99 = np.percentile(took, [50, 99])
        efforts.append({"effort": effort, "recall": recall(found, true), "p50": p50, "p99": p99})
    return {"open": opened, "memory": resident() - before, "efforts": efforts}


def _measure(what: str, folder: str, **task: Any) -> dict[str, Any]:
    return {"build": build, "search": search}[what](folder=Path(folder), **task)


if __name__ == "__main__":
    answer(_measure)
