"""A job of kind map: from the vectors of an embed job to out/map with map.arrow and result.json. Knows no torch.

Nothing of a map that is half made can be taken up again: an attempt begins anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.machine import cpus
from ssl_core.durable import write_atomically
from ssl_core.events import Events, Stopped
from ssl_core.mapping.clusters import clusters
from ssl_core.mapping.layout import placed, principal, umap
from ssl_core.mapping.neighbours import apart, graph_of, nearest_others
from ssl_core.mapping.table import NEAREST, Columns, write_map
from ssl_core.search.facts import BadVectors
from ssl_core.search.graph import Graph
from ssl_core.search.vectors import VectorFolder
from ssl_core.spec.map import MapSpec

FOLDER, RESULT = "map", "result.json"
FEWEST = 4  # vectors that a map can be made of
SAY_SECONDS = 1.0
# What each part takes of the whole, roughly, at 100,000 pictures.
SHARES = {
    "reading": 0.1,
    "indexing": 0.2,
    "neighbours": 0.2,
    "landmarks": 0.05,
    "compiling": 0.0,
    "layout": 0.35,
    "placing": 0.05,
    "clusters": 0.05,
}


def make_map(
    spec: MapSpec, vectors: Path, out: Path, *, events: Events, asked_to_stop: Callable[[], bool] = lambda: False
) -> Path:
    """Map the folder `vectors`; returns the folder of the map, out/map.

    Raises BadVectors, Stopped, and OSError when the disk is full.
    """
    began = time.monotonic()
    source = VectorFolder(vectors)
    if source.encoder != spec.encoder:
        raise BadVectors(f"the vectors of {spec.vectors} were made by {source.encoder}, not by {spec.encoder}")
    events.emit("data", images=source.rows, held_out=0)
    said = _Said(events, source.rows, asked_to_stop)

    paths: list[str] = []
    mean, components = principal(_read(source, paths, partial(said, "reading", total=source.rows)), source.dim)
    count, left_out, threads = len(paths), source.rows - len(paths), cpus()
    if count < FEWEST:
        raise BadVectors(f"{vectors.name} has {count} vectors; a map is made of {FEWEST} or more")
    graph = graph_of(_all(source), source.dim, threads, partial(said, "indexing", total=count))
    k = max(spec.neighbours, NEAREST)
    rows, scores = nearest_others(graph, _all(source), k, threads, partial(said, "neighbours", total=count))
    chosen = _landmarks(count, spec)
    layout = partial(umap, min_dist=spec.min_dist, seed=spec.seed, told=partial(said, "layout"))
    if len(chosen) == count:
        reduced = np.concatenate([_reduced(each, mean, components) for each in _all(source)])
        said("compiling", 0, 1)  # the library is imported, and compiles: some 10 s
        xy = layout(reduced, rows[:, : spec.neighbours], scores[:, : spec.neighbours])
    else:
        del graph
        some, passes = partial(_some, source, chosen), partial(said, "landmarks", total=2 * len(chosen))
        graph = graph_of(some(), source.dim, threads, passes)
        near = nearest_others(graph, some(), spec.neighbours, threads, lambda done: passes(len(chosen) + done))
        reduced = np.concatenate([_reduced(each, mean, components) for each in some()])
        said("compiling", 0, 1)
        fitted = layout(reduced, *near)
        xy = _placed(source, graph, fitted, spec.neighbours, threads, partial(said, "placing", total=count))
        xy[chosen] = fitted
    said("clusters", 0, 1)
    label = _clustered(xy, chosen, spec)
    said("saving", 0, 1)
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    outlier = apart(scores[:, :NEAREST])
    write_map(folder, Columns(paths, xy, label, outlier, rows[:, :NEAREST].copy(), scores[:, :NEAREST].copy()))
    facts = {
        "format_version": 1,
        "count": count,
        "left_out": left_out,
        "dim": source.dim,
        "landmarks": len(chosen),
        "clusters": int(label.max()) + 1,
        "unclustered": int((label < 0).sum()),
        "seconds": round(time.monotonic() - began, 2),
    }
    write_atomically(folder / RESULT, lambda file: file.write(json.dumps(facts, indent=1).encode()))
    events.emit("data", images=count, held_out=0, unreadable=left_out, unreadable_examples=[])
    return folder


def _all(source: VectorFolder) -> Iterator[NDArray[np.float32]]:
    return (batch.vectors for batch in source.batches() if batch.paths)


def _read(source: VectorFolder, paths: list[str], done: Callable[[int], None]) -> Iterator[NDArray[np.float32]]:
    """The same; adds to `paths` whose they are."""
    seen = 0
    for batch in source.batches():
        paths += batch.paths
        seen += len(batch.paths) + batch.left_out
        done(seen)
        if batch.paths:
            yield batch.vectors


def _reduced(vectors: NDArray[np.float32], mean: NDArray[np.float64], components: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray((vectors - mean) @ components, np.float32)


def _landmarks(count: int, spec: MapSpec) -> NDArray[np.int64]:
    """Rows that are fitted, in order: all, or as many as the spec says, drawn with its seed."""
    if count <= spec.landmarks:
        return np.arange(count)
    return np.sort(np.random.default_rng(spec.seed).choice(count, spec.landmarks, replace=False))


def _some(source: VectorFolder, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """The vectors of these rows, which are in order."""
    begin = 0
    for vectors in _all(source):
        first, last = np.searchsorted(chosen, [begin, begin + len(vectors)])
        if first < last:
            yield vectors[chosen[first:last] - begin]
        begin += len(vectors)


def _placed(
    source: VectorFolder, graph: Graph, fitted: NDArray[np.float32], k: int, threads: int, done: Callable[[int], None]
) -> NDArray[np.float32]:
    found = []
    for vectors in _all(source):
        rows, scores = graph.search(vectors, k, threads)
        found.append(placed(rows, scores, fitted))
        done(sum(map(len, found)))
    return np.concatenate(found)


def _clustered(xy: NDArray[np.float32], chosen: NDArray[np.int64], spec: MapSpec) -> NDArray[np.int32]:
    """Clusters of the landmarks; the others have that of the landmark that lies nearest on the map."""
    label = clusters(xy[chosen], spec.min_cluster)
    if len(chosen) == len(xy):
        return label
    from scipy.spatial import KDTree

    return np.asarray(label[KDTree(xy[chosen]).query(xy)[1]], np.int32)


class _Said:
    """Progress as events: a step is a picture's share of the whole; an end between two batches, or two epochs of the layout."""

    def __init__(self, events: Events, images: int, asked_to_stop: Callable[[], bool]) -> None:
        self.events, self.images, self.asked_to_stop = events, images, asked_to_stop
        self.phase = ""
        self.began = time.monotonic()
        self.at = -SAY_SECONDS

    def look(self) -> None:
        """Raises Stopped."""
        if self.asked_to_stop():
            raise Stopped(0)

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.look()
        now = time.monotonic()
        if phase != self.phase:
            self.phase = phase
            self.events.emit("phase", phase=phase)
        elif now - self.at < SAY_SECONDS and done < total:
            return
        before = 0.0
        for name, share in SHARES.items():
            if name == phase:
                break
            before += share
        fraction = min(before + SHARES.get(phase, 0.0) * done / max(total, 1), 1.0)
        if fraction <= 0:
            return
        self.at, taken = now, now - self.began
        self.events.emit(
            "progress",
            step=int(fraction * self.images),
            steps_total=self.images,
            fraction=fraction,
            images_per_second=fraction * self.images / max(taken, 1e-9),
            eta_seconds=taken * (1 - fraction) / fraction,
        )
