"""Folders as embed jobs leave them: result.json and Parquet shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ENCODER = "enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G"


def write_vectors(
    folder: Path, vectors: Any, paths: Sequence[str], *, encoder: str = ENCODER, bad: Sequence[int] = (), shard: int = 64
) -> Path:
    """Vectors float32 (N, dim) of pictures at `paths`; the rows in `bad` have an error instead."""
    folder.mkdir(parents=True)
    dim = vectors.shape[1]
    schema = pa.schema(
        [("path", pa.string()), ("embedding", pa.list_(pa.float32(), dim)), ("error", pa.string())], metadata={"encoder": encoder}
    )
    for number, begin in enumerate(range(0, len(vectors), shard)):
        rows = range(begin, min(begin + shard, len(vectors)))
        columns = {
            "path": pa.array([paths[row] for row in rows], pa.string()),
            "embedding": pa.array([None if row in bad else vectors[row] for row in rows], schema.field("embedding").type),
            "error": pa.array(["cannot be decoded" if row in bad else None for row in rows], pa.string()),
        }
        pq.write_table(pa.table(columns, schema=schema), folder / f"part-{number:05}.parquet", row_group_size=24)
    about = {"encoder": encoder, "dim": dim, "dtype": "float32", "images": len(vectors), "errors": len(bad), "dimensions": None}
    (folder / "result.json").write_text(json.dumps(about))
    return folder


def clustered(count: int, dim: int = 32, clusters: int = 20, seed: int = 0) -> Any:
    """Vectors in clusters, not of length 1: float32 (count, dim)."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((clusters, dim))
    return (3 * (centres[np.arange(count) % clusters] + 0.3 * rng.standard_normal((count, dim)))).astype(np.float32)
