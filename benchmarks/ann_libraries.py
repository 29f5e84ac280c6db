"""Indexes of nearest neighbours by several libraries behind the same three calls, for `ann.py` to measure.

Vectors are float32 of length 1, so that the inner product is the cosine. A library is imported only by its own class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

CHUNK = 16_384  # rows read at a time: a build holds the index and one chunk
M, BUILD_EFFORT = 16, 128  # links of a node, and candidates looked at when it is added: the same for every HNSW graph


class Library:
    """One kind of index. `efforts`: what is tried at search time, from fast to thorough."""

    efforts: ClassVar[tuple[int, ...]] = (32, 64, 128)

    def build(self, vectors: Any, file: Path, threads: int) -> None:
        """Write an index of (N, dim) vectors, a memory map, to a file."""
        raise NotImplementedError

    def open(self, file: Path, dim: int) -> None:
        """Make the file ready to be searched, by a memory map where the library can."""
        raise NotImplementedError

    def search(self, queries: Any, k: int, effort: int) -> Any:
        """Numbers of the rows nearest to (Q, dim) queries: (Q, k) integers. With one thread."""
        raise NotImplementedError


class USearch(Library):
    """HNSW, with the vectors as f32, f16 or i8."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def _index(self, dim: int) -> Any:
        from usearch.index import Index

        return Index(
            ndim=dim, metric="cos", dtype=self.dtype, connectivity=M, expansion_add=BUILD_EFFORT, enable_key_lookups=False
        )

    def build(self, vectors: Any, file: Path, threads: int) -> None:
        index = self._index(vectors.shape[1])
        for begin in range(0, len(vectors), CHUNK):
            chunk = np.asarray(vectors[begin : begin + CHUNK])
            index.add(np.arange(begin, begin + len(chunk)), chunk, threads=threads)
        index.save(str(file))

    def open(self, file: Path, dim: int) -> None:
        self.index = self._index(dim)
        self.index.view(str(file))

    def search(self, queries: Any, k: int, effort: int) -> Any:
        self.index.expansion_search = effort
        return self.index.search(queries, k, threads=1).keys.reshape(len(queries), -1)


class Faiss(Library):
    """Whatever faiss.index_factory makes of a description."""

    def __init__(self, description: str, efforts: tuple[int, ...], parameter: str) -> None:
        self.description, self.efforts, self.parameter = description, efforts, parameter  # type: ignore[misc]

    def build(self, vectors: Any, file: Path, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)
        index = faiss.index_factory(vectors.shape[1], self.description, faiss.METRIC_INNER_PRODUCT)
        if self.parameter == "efSearch":
            faiss.downcast_index(index).hnsw.efConstruction = BUILD_EFFORT
        if not index.is_trained:
            sample = np.random.default_rng(0).choice(len(vectors), min(len(vectors), 100_000), replace=False)
            index.train(np.asarray(vectors[np.sort(sample)]))
        for begin in range(0, len(vectors), CHUNK):
            index.add(np.asarray(vectors[begin : begin + CHUNK]))
        faiss.write_index(index, str(file))

    def open(self, file: Path, dim: int) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        try:
            self.index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError:  # not for every kind of index
            self.index = faiss.read_index(str(file))
        self.space = faiss.ParameterSpace()

    def search(self, queries: Any, k: int, effort: int) -> Any:
        if self.parameter:
            self.space.set_index_parameter(self.index, self.parameter, effort)
        return self.index.search(queries, k)[1]


class HnswLib(Library):
    """The authors' own HNSW, f32 only, not memory-mapped."""

    def build(self, vectors: Any, file: Path, threads: int) -> None:
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), M=M, ef_construction=BUILD_EFFORT)
        for begin in range(0, len(vectors), CHUNK):
            chunk = np.asarray(vectors[begin : begin + CHUNK])
            index.add_items(chunk, np.arange(begin, begin + len(chunk)), num_threads=threads)
        index.save_index(str(file))

    def open(self, file: Path, dim: int) -> None:
        import hnswlib

        self.index = hnswlib.Index("ip", dim)
        self.index.load_index(str(file))
        self.index.set_num_threads(1)

    def search(self, queries: Any, k: int, effort: int) -> Any:
        self.index.set_ef(max(effort, k))
        return self.index.knn_query(queries, k)[0]


class Exact(Library):
    """Every vector looked at, with numpy: what the others are compared with."""

    efforts = (0,)

    def build(self, vectors: Any, file: Path, threads: int) -> None:
        with file.open("wb") as out:
            np.save(out, vectors, allow_pickle=False)

    def open(self, file: Path, dim: int) -> None:
        self.vectors = np.load(file, mmap_mode="r")

    def search(self, queries: Any, k: int, effort: int) -> Any:
        return exact(self.vectors, queries, k)


def exact(vectors: Any, queries: Any, k: int) -> Any:
    """Rows with the largest inner products, best first: (Q, k) int64."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.zeros((len(queries), k), np.int64)
    for begin in range(0, len(vectors), CHUNK):
        scores = queries @ np.asarray(vectors[begin : begin + CHUNK]).T
        few = min(k, scores.shape[1])
        found = np.argpartition(-scores, few - 1, axis=1)[:, :few]
        best = np.concatenate([best, np.take_along_axis(scores, found, 1)], 1)
        rows = np.concatenate([rows, found + begin], 1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
    return rows


_PROBES = (8, 32, 128)
LIBRARIES: dict[str, tuple[str, Library]] = {  # name: (the package it needs, how it is called)
    "exact f32": ("numpy", Exact()),
    "usearch HNSW f16": ("usearch", USearch("f16")),
    "faiss IVF1024 SQ8": ("faiss", Faiss("IVF1024,SQ8", _PROBES, "nprobe")),
    "faiss HNSW SQ8": ("faiss", Faiss(f"HNSW{M}_SQ8", (32, 64, 128), "efSearch")),
    "usearch HNSW i8": ("usearch", USearch("i8")),
    "usearch HNSW f32": ("usearch", USearch("f32")),
    "faiss HNSW f32": ("faiss", Faiss(f"HNSW{M}", (32, 64, 128), "efSearch")),
    "hnswlib HNSW f32": ("hnswlib", HnswLib()),
    "faiss IVF1024 PQ64": ("faiss", Faiss("IVF1024,PQ64", _PROBES, "nprobe")),
}
