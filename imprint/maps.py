"""Maps of embeddings from Python: make one, look at its points. Speaks HTTP only.

job = client.wait(client.make_map(embed_job.id).id)
client.save_map(job.id, "map.arrow")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from imprint.bulk import replacing
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
        body: Json = self._transport.request("GET", _here(job_id)).json()
        return body

    def map_points(self, job_id: str, **params: Any) -> Json:
        """A page of its pictures: `limit`, `skip`, `order` ("row" or "outlier"), `folder`, `cluster`."""
        body: Json = self._transport.request("GET", f"{_here(job_id)}/points", params=params).json()
        return body

    def map_picture(self, job_id: str, row: int) -> Json:
        """One picture with its ten nearest others. Raises NotFound."""
        body: Json = self._transport.request("GET", f"{_here(job_id)}/points/{row}").json()
        return body

    def save_map(self, job_id: str, to: str | Path) -> Path:
        """The whole map as the file `to`: Arrow IPC, or by the name's end .parquet or .csv. It appears when it is whole.

        Columns: path, folder, x, y, cluster, outlier, and but for CSV nearest (rows of the ten nearest others) and cosine.
        """
        target = Path(to)
        with replacing(target) as out:
            if target.suffix not in (".parquet", ".csv"):
                self._transport.download(f"{_here(job_id)}/points.arrow", out)
                return target
            import pyarrow as pa

            content = self._transport.request("GET", f"{_here(job_id)}/points.arrow").content
            table = pa.ipc.open_file(content).read_all()
            if target.suffix == ".parquet":
                import pyarrow.parquet as pq

                pq.write_table(table, out)
            else:
                from pyarrow import csv

                shown = table.drop_columns(["nearest", "cosine"])
                at = shown.schema.get_field_index("folder")
                csv.write_csv(shown.set_column(at, "folder", shown.column("folder").cast(pa.string())), out)
        return target

    def export_rows(self, job_id: str, rows: Sequence[int], name: str | None = None, format: str = "csv") -> bytes:
        """Some of its pictures as CSV or Parquet."""
        body = {"rows": list(rows), "format": format, **({"name": name} if name else {})}
        return self._transport.request("POST", f"{_here(job_id)}/export", json=body, repeatable=True).content


def _here(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}/map"
