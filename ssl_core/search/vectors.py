"""The result of an embed job, read a batch at a time: result.json and part-*.parquet with path, embedding and error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ssl_core.search.facts import BadVectors

RESULT = "result.json"
BATCH = 8192  # rows in memory


@dataclass(frozen=True)
class Batch:
    """Pictures that have a vector: float32 (N, dim), of length 1 (but for zeros). `left_out`: rows beside them that have none."""

    paths: list[str]
    vectors: NDArray[np.float32]
    left_out: int


class VectorFolder:
    """What `home/vectors/<job>.<attempt>` holds. Raises BadVectors, with the file's name, for what is not as it should be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about: Any = json.loads((folder / RESULT).read_bytes())
            self.encoder, self.dim = str(about["encoder"]), int(about["dim"])
            self.dimensions: int | None = about.get("dimensions")
        except FileNotFoundError:
            raise BadVectors(f"{folder.name} has no {RESULT}: it is not the result of an embed job") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadVectors(f"{folder.name}/{RESULT} cannot be read: {type(error).__name__}: {error}") from None
        self.shards = sorted(folder.glob("part-*.parquet"))
        self.rows = sum(self._rows(shard) for shard in self.shards)

    def batches(self) -> Iterator[Batch]:
        """All rows in order; the same each time."""
        for shard in self.shards:
            try:
                with pq.ParquetFile(shard, memory_map=True) as file:
                    for batch in file.iter_batches(BATCH, columns=["path", "embedding"]):
                        yield self._good(shard, batch)
            except (OSError, pa.ArrowException) as error:
                raise BadVectors(f"{shard.name} cannot be read: {str(error).splitlines()[0]}") from None

    def _rows(self, shard: Path) -> int:
        try:
            facts = pq.read_metadata(shard)
            column = facts.schema.to_arrow_schema().field("embedding").type
        except (OSError, pa.ArrowException, KeyError) as error:
            raise BadVectors(f"{shard.name} cannot be read: {str(error).splitlines()[0]}") from None
        if column != pa.list_(pa.float32(), self.dim):
            raise BadVectors(f"{shard.name} has embeddings of type {column}, not float32[{self.dim}] as {RESULT} says")
        return int(facts.num_rows)

    def _good(self, shard: Path, batch: Any) -> Batch:
        column = batch.column("embedding")
        values = np.asarray(column.drop_null().flatten(), np.float32).reshape(-1, self.dim)
        there = np.asarray(column.is_valid())
        finite = np.isfinite(values).all(1)
        paths = batch.column("path").filter(pa.array(there)).filter(pa.array(finite)).to_pylist()
        if None in paths:
            raise BadVectors(f"{shard.name} has a row without a path")
        values = values[finite]
        lengths = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
        return Batch(paths, (values / np.maximum(lengths, 1e-30)).astype(np.float32), batch.num_rows - len(paths))
