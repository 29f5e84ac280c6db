"""From the vectors of an embed job to a folder with their index, holding one batch and the graph in memory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.machine import cpus
from ssl_core.durable import sync_folder
from ssl_core.search.facts import ENDS, FILES, GRAPH, PATHS, ROWS, SCORES, BadVectors, IndexFacts, file_facts, write_facts
from ssl_core.search.graph import DTYPE, Graph, library
from ssl_core.search.vectors import VectorFolder

NEIGHBOURS = 10  # written down for each picture: what the report is made of
Report = Callable[[str, int, int], None]  # (phase, done, total)


def build_index(
    vectors: Path,
    out: Path,
    *,
    job: str = "",
    data: dict[str, Any] | None = None,
    threads: int | None = None,
    report: Report = lambda phase, done, total: None,
) -> IndexFacts:
    """Write the index of a folder of vectors into the new folder `out`; index.json is its last file.

    job, data: what index.json says about where the vectors come from. `report` is called after every batch with the phase
    (indexing, neighbours, saving). Raises BadVectors; OSError when the disk is full.
    """
    began = time.monotonic()
    threads = threads or cpus()
    source = VectorFolder(vectors)
    out.mkdir(parents=True)
    graph = Graph(source.dim)
    left_out = _fill(graph, source, out, threads, report)
    count = len(graph)
    if count == 0:
        raise BadVectors(f"{vectors.name} has no vector: {left_out} pictures, all of them with an error")
    _write_neighbours(graph, source, out, threads, report)
    report("saving", 0, count)
    graph.save(out / GRAPH)
    for name in FILES:
        _sync(out / name)
    sync_folder(out)
    facts = IndexFacts(
        encoder=source.encoder,
        vectors=job or vectors.name,
        data=data or {},
        count=count,
        left_out=left_out,
        dim=source.dim,
        dimensions=source.dimensions,
        dtype=DTYPE,
        neighbours=NEIGHBOURS,
        library=library(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        seconds=round(time.monotonic() - began, 2),
        files={name: file_facts(out / name) for name in FILES},
    )
    write_facts(out, facts)
    return facts


def _fill(graph: Graph, source: VectorFolder, out: Path, threads: int, report: Report) -> int:
    """Add every vector, write every path; returns how many pictures have no vector."""
    ends = [np.zeros(1, np.uint64)]
    count = left_out = end = 0
    with (out / PATHS).open("wb") as file:
        for batch in source.batches():
            if batch.paths:
                names = [path.encode("utf-8", "surrogatepass") for path in batch.paths]
                file.write(b"".join(names))
                ends.append(end + np.cumsum([len(name) for name in names], dtype=np.uint64))
                end = int(ends[-1][-1])
                graph.add(count, batch.vectors, threads)
            count += len(batch.paths)
            left_out += batch.left_out
            report("indexing", count + left_out, source.rows)
    np.save(out / ENDS, np.concatenate(ends), allow_pickle=False)
    return left_out


def _write_neighbours(graph: Graph, source: VectorFolder, out: Path, threads: int, report: Report) -> None:
    """The nearest others of every picture: rows int32 and cosines float32, (N, NEIGHBOURS), -1 and NaN where there are fewer."""
    shape = (len(graph), NEIGHBOURS)
    rows = np.lib.format.open_memmap(out / ROWS, "w+", np.int32, shape)
    scores = np.lib.format.open_memmap(out / SCORES, "w+", np.float32, shape)
    begin = 0
    for batch in source.batches():
        if not batch.paths:
            continue
        end = begin + len(batch.paths)
        found, cosines = graph.search(batch.vectors, NEIGHBOURS + 1, threads)
        rows[begin:end], scores[begin:end] = others(np.arange(begin, end), found, cosines)
        begin = end
        report("neighbours", begin, len(graph))
    rows.flush()
    scores.flush()


def others(
    own: NDArray[np.integer[Any]], rows: NDArray[np.int32], scores: NDArray[np.float32]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(N, k + 1) neighbours without the picture itself, (N, k); where it did not find itself, without the farthest."""
    is_own = rows == own[:, None]
    is_own[~is_own.any(1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return rows[~is_own].reshape(shape), scores[~is_own].reshape(shape)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
