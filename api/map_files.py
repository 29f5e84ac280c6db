"""What is on a map, read from its Arrow file by a memory map, and the forms that it is sent in."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from api.map_schemas import MapGroup, MapGroups, MapNear, MapPoint
from ssl_core.search.report import duplicates

MAGIC = b"IMAP"
MOST_MEMBERS = 100  # of a group of near-duplicates that are listed
SENT = {"x": "float32", "y": "float32", "folder": "int32", "cluster": "int32", "outlier": "float32"}


@dataclass(frozen=True)
class _Nearest:
    """What `duplicates` looks at: int32 and float32 (N, 10)."""

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


class Map:
    """One map. table: as ssl_core/mapping/table.py writes it."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> NDArray[Any]:
        """Numbers, (N,); of `folder` the numbers in `names`."""
        column = self.table.column(name)
        if name == "folder":
            pieces = [chunk.indices.to_numpy() for chunk in column.chunks]
            return np.concatenate(pieces)
        return np.asarray(column.to_numpy())

    @property
    def names(self) -> list[str]:
        """The folders, in order."""
        column = self.table.column("folder")
        return [str(name) for name in column.chunk(0).dictionary.to_pylist()]

    def folders(self) -> list[tuple[str, int]]:
        """Folders and how many pictures each has, the largest first."""
        names = self.names
        counts = np.bincount(self.column("folder"), minlength=len(names))
        return [(names[at], int(counts[at])) for at in np.argsort(-counts, kind="stable")]

    def chosen(self, folder: str | None, cluster: int | None) -> NDArray[np.int64]:
        """Rows of a folder and a cluster, in order; None: of any."""
        wanted = np.ones(len(self), bool)
        if folder is not None:
            names = self.names
            wanted &= self.column("folder") == (names.index(folder) if folder in names else -1)
        if cluster is not None:
            wanted &= self.column("cluster") == cluster
        return np.flatnonzero(wanted)

    def path(self, row: int) -> str:
        """Relative to the folder that was embedded."""
        return str(self.table.column("path")[row].as_py())

    def points(self, rows: NDArray[np.int64]) -> list[MapPoint]:
        """These rows, in this order."""
        part = self.table.select(["path", "folder", "x", "y", "cluster", "outlier"]).take(rows).to_pylist()
        return [MapPoint(row=int(row), **each) for row, each in zip(rows, part, strict=True)]

    def nearest(self, row: int) -> list[MapNear]:
        """The nearest others of one picture, best first."""
        rows, scores = (self.table.column(name)[row].as_py() for name in ("nearest", "cosine"))
        pairs = [(other, score) for other, score in zip(rows, scores, strict=True) if other >= 0]
        return [MapNear(row=other, path=self.path(other), score=round(score, 6)) for other, score in pairs]

    def groups(self, threshold: float, skip: int, limit: int) -> MapGroups:
        """Near-duplicates, groups number skip to skip + limit: as the report of an index finds them."""
        found = duplicates(_Nearest(self._lists("nearest"), self._lists("cosine")), threshold)
        page = [
            MapGroup(
                size=len(each.rows),
                lowest=round(each.lowest, 6),
                highest=round(each.highest, 6),
                data=self.points(each.rows[:MOST_MEMBERS]),
            )
            for each in found.groups[skip : skip + limit]
        ]
        count = len(found.groups)
        return MapGroups(threshold=threshold, count=count, extra=found.extra, data=page, has_more=count > skip + limit)

    def _lists(self, name: str) -> NDArray[Any]:
        """A column of lists, (N, 10)."""
        return np.concatenate([chunk.flatten().to_numpy().reshape(len(chunk), -1) for chunk in self.table.column(name).chunks])

    def selected(self, rows: NDArray[np.int64], name: str) -> Any:
        """A table of these rows: selection, row, path, folder, x, y, cluster, outlier."""
        import pyarrow as pa

        part = self.table.select(["path", "folder", "x", "y", "cluster", "outlier"]).take(rows)
        columns = {"selection": pa.array([name] * len(rows)), "row": pa.array(rows)}
        columns |= {each: part.column(each) for each in part.column_names}
        columns["folder"] = part.column("folder").cast(pa.string())
        return pa.table(columns)


def as_binary(found: Map) -> bytes:
    """The columns that a page draws, behind a header: see GET /jobs/{id}/map/points.bin."""
    count = len(found)
    columns = [{"name": name, "type": kind, "offset": 4 * count * at} for at, (name, kind) in enumerate(SENT.items())]
    header = json.dumps({"count": count, "columns": columns, "folders": found.names}).encode()
    header += b" " * (-len(header) % 4)  # so that the arrays lie where a typed array may begin
    values = [found.column(name).astype(np.dtype(kind).newbyteorder("<")).tobytes() for name, kind in SENT.items()]
    return b"".join([MAGIC, len(header).to_bytes(4, "little"), header, *values])


def as_csv(table: Any) -> bytes:
    """A header, then a row each."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=4096):
        columns = [batch.column(at).to_pylist() for at in range(batch.num_columns)]
        writer.writerows(
            [[f"{each:.6f}" if isinstance(each, float) else each for each in row] for row in zip(*columns, strict=True)]
        )
    return out.getvalue().encode("utf-8", "replace")


def as_parquet(table: Any) -> bytes:
    """One Parquet file."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def file_name(name: str) -> str:
    """What may stand in a header and on any disk."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "selection"
