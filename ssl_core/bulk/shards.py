"""Vectors as Parquet: path string, embedding fixed_size_list<float32>, error string; a row has one of the last two.

Knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

GROUP = 2048  # rows that are written at once: what a writer or reader holds in memory


@dataclass(frozen=True)
class Rows:
    """Some pictures: vectors float32 (N, dim), of which those with an error mean nothing."""

    paths: Sequence[str]
    vectors: NDArray[np.float32]
    errors: Sequence[str | None]


@dataclass(frozen=True)
class Part:
    """What is in a finished shard."""

    file: str
    images: int
    errors: int
    size_bytes: int


def schema_of(dim: int, about: dict[str, str]) -> Any:
    """The columns; `about` becomes the schema's metadata."""
    fields = [("path", pa.string()), ("embedding", pa.list_(pa.field("element", pa.float32()), dim)), ("error", pa.string())]
    return pa.schema(fields, metadata={name: str(value) for name, value in about.items()})


def write_shard(file: BinaryIO, schema: Any, batches: Iterable[Rows]) -> None:
    """All rows, in their order, at most GROUP and a batch of them in memory."""
    writer = pq.ParquetWriter(
        file,
        schema,
        compression={"path": "zstd", "embedding.list.element": "none", "error": "zstd"},  # floats do not shrink
        use_dictionary=["error"],
    )
    waiting: list[Any] = []
    rows = 0
    with writer:
        for batch in batches:
            waiting.append(_record_batch(batch, schema))
            rows += len(batch.paths)
            if rows >= GROUP:
                writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)
                waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=rows)


def _record_batch(rows: Rows, schema: Any) -> Any:
    bad = np.array([error is not None for error in rows.errors], bool)
    values = np.where(bad[:, None], np.float32(0), rows.vectors).reshape(-1)
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(values, pa.float32()), type=schema.field("embedding").type, mask=pa.array(bad)
    )
    # A file's name is bytes; those that are not UTF-8 are shown as such.
    paths = [path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for path in rows.paths]
    return pa.RecordBatch.from_arrays([pa.array(paths, pa.string()), vectors, pa.array(rows.errors, pa.string())], schema=schema)


def is_whole(path: Path, schema: Any, rows: int) -> bool:
    """Whether a file is a shard of so many rows with exactly these columns and metadata, by its footer."""
    try:
        with pq.ParquetFile(path) as file:
            return bool(file.metadata.num_rows == rows and file.schema_arrow.equals(schema, check_metadata=True))
    except (OSError, pa.ArrowException):  # missing, or no Parquet file
        return False


def part_of(path: Path) -> Part:
    """What is in a shard, by its footer alone. Raises what pyarrow raises."""
    facts = pq.read_metadata(path)
    columns = [facts.row_group(each).column(2) for each in range(facts.num_row_groups)]
    good = sum(column.statistics.null_count for column in columns)
    return Part(path.name, facts.num_rows, facts.num_rows - good, path.stat().st_size)


def examples_of(path: Path, most: int) -> list[tuple[str, str]]:
    """The first rows with an error: (path, why)."""
    found: list[tuple[str, str]] = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["path", "error"], batch_size=GROUP):
            pairs = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            found += [(name, why) for name, why in pairs if why is not None]
            if len(found) >= most:
                break
    return found[:most]
