"""Maps of embeddings from Python: make one, look at its points. Speaks HTTP only.

job = client.wait(client.make_map(embed_job.id).id)
client.save_map(job.id, "map.arrow")
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from imprint.bulk import on_disk, replacing
from imprint.flow import Call, Flow, Work, download, get, part, run
from imprint.records import Job, Json
from imprint.transport import Transport


class MapCalls:
    """The part of `imprint.Client` that deals with jobs of kind map."""

    _transport: Transport
    if TYPE_CHECKING:  # the client's own

        def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job: ...

    def make_map(self, vectors: str, **fields: Any) -> Job:
        """Queue a job that maps the vectors of an embed job. `fields`: neighbours, min_dist, min_cluster, landmarks, seed, name,
        labels, as for POST /jobs. Raises Rejected."""
        return self.submit(kind="map", vectors=vectors, **fields)

    def map(self, job_id: str) -> Json:
        """What is on a finished map: count, clusters, folders, links."""
        return run(summary(job_id), self._transport.performer())

    def map_points(self, job_id: str, **params: Any) -> Json:
        """A page of its pictures: `limit`, `skip`, `order` ("row" or "outlier"), `folder`, `cluster`."""
        return run(points(job_id, params), self._transport.performer())

    def map_picture(self, job_id: str, row: int) -> Json:
        """One picture with its ten nearest others. Raises NotFound."""
        return run(picture(job_id, row), self._transport.performer())

    def save_map(self, job_id: str, to: str | Path) -> Path:
        """The whole map as the file `to`: Arrow IPC, or by the name's end .parquet or .csv. It appears when it is whole.

        Columns: path, folder, x, y, cluster, outlier, and but for CSV nearest (rows of the ten nearest others) and cosine.
        """
        return run(saved(job_id, to), self._transport.performer())

    def export_rows(self, job_id: str, rows: Sequence[int], name: str | None = None, format: str = "csv") -> bytes:
        """Some of its pictures as CSV or Parquet."""
        return run(exported(job_id, rows, name, format), self._transport.performer())


def summary(job_id: str) -> Flow[Json]:
    """See `MapCalls.map`, and so on."""
    return get(_here(job_id))


def points(job_id: str, params: Json) -> Flow[Json]:
    page: Json = (yield Call("GET", f"{_here(job_id)}/points", params=params)).json()
    return page


def picture(job_id: str, row: int) -> Flow[Json]:
    return get(f"{_here(job_id)}/points/{row}")


def saved(job_id: str, to: str | Path) -> Flow[Path]:
    target, address = Path(to), f"{_here(job_id)}/points.arrow"
    with replacing(target) as out:
        if target.suffix not in (".parquet", ".csv"):
            yield from download(address, out)
        else:
            arrow = io.BytesIO()
            yield from download(address, arrow)
            yield Work(lambda: _convert(arrow, target.suffix, out))
        yield on_disk(out)
    return target


def exported(job_id: str, rows: Sequence[int], name: str | None, form: str) -> Flow[bytes]:
    body = {"rows": list(rows), "format": form, **({"name": name} if name else {})}
    answer = yield Call("POST", f"{_here(job_id)}/export", json=body, repeatable=True)
    return bytes(answer.content)


def _convert(arrow: io.BytesIO, suffix: str, out: BinaryIO) -> None:
    """An Arrow file as Parquet, or as CSV without the columns of lists, which it cannot hold."""
    import pyarrow as pa

    table = pa.ipc.open_file(pa.py_buffer(arrow.getbuffer())).read_all()
    if suffix == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, out)
        return
    from pyarrow import csv

    shown = table.drop_columns(["nearest", "cosine"])
    at = shown.schema.get_field_index("folder")
    csv.write_csv(shown.set_column(at, "folder", shown.column("folder").cast(pa.string())), out)


def _here(job_id: str) -> str:
    return f"/jobs/{part(job_id)}/map"
