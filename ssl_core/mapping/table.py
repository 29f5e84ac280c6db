"""map.arrow: an Arrow IPC file, a row a picture, in the order of the vectors. Not compressed, so that it is mapped and not read.

path      string, relative to the folder that was embedded
folder    dictionary<int32, string>: the folder that a picture lies in, which often is its class; "" at the top
x, y      float32: its place
cluster   int32: 0 is the largest, -1 is none
outlier   float32: the mean of 1 - cosine to its ten nearest others
nearest   fixed_size_list<int32, 10>: rows of the nearest others, best first, -1 where there are fewer
cosine    fixed_size_list<float32, 10>: their cosines, NaN where there are fewer
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_core.durable import write_atomically

MAP = "map.arrow"
NEAREST = 10
ROWS = 65_536  # of a record batch


class MapCorrupt(Exception):
    """The file of a map is missing, cut off, or of another make."""


@dataclass(frozen=True)
class Columns:
    """What is stored, by the names of the columns. paths: N; xy float32 (N, 2); nearest int32, cosine float32 (N, NEAREST)."""

    paths: Sequence[str]
    xy: NDArray[np.float32]
    cluster: NDArray[np.int32]
    outlier: NDArray[np.float32]
    nearest: NDArray[np.int32]
    cosine: NDArray[np.float32]


def folder_of(path: str) -> str:
    """What a picture is coloured by: the folder that it lies in."""
    return path.rpartition("/")[0]


def write_map(out: Path, columns: Columns) -> None:
    """Write `out`/map.arrow, whole and durable."""
    import pyarrow as pa

    names = sorted({folder_of(path) for path in columns.paths})
    number = {name: at for at, name in enumerate(names)}
    codes = np.fromiter((number[folder_of(path)] for path in columns.paths), np.int32, len(columns.paths))
    paths = [path.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace") for path in columns.paths]
    shown = [name.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace") for name in names]

    def lists(values: NDArray[Any]) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])

    table = pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "folder": pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(shown, pa.string())),
            "x": pa.array(np.ascontiguousarray(columns.xy[:, 0])),
            "y": pa.array(np.ascontiguousarray(columns.xy[:, 1])),
            "cluster": pa.array(columns.cluster),
            "outlier": pa.array(columns.outlier),
            "nearest": lists(columns.nearest),
            "cosine": lists(columns.cosine),
        }
    )

    def write(file: Any) -> None:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=ROWS)

    write_atomically(out / MAP, write)


def read_map(folder: Path) -> Any:
    """The pyarrow.Table in `folder`, by a memory map. Raises MapCorrupt."""
    import pyarrow as pa

    try:
        return pa.ipc.open_file(pa.memory_map(str(folder / MAP))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise MapCorrupt(f"{folder.name}/{MAP} cannot be read: {str(error).splitlines()[0]}") from None
