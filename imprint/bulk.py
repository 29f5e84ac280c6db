"""Vectors of whole folders: jobs of kind embed, and their result as one Parquet file. Speaks HTTP only."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from imprint.flow import Flow, Work, download, get, part, run
from imprint.records import Embedded, Job, Json
from imprint.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = 2048  # rows in memory at once


class BulkCalls:
    """The part of `imprint.Client` that deals with jobs of kind embed."""

    _transport: Transport
    if TYPE_CHECKING:  # the client's own

        def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job: ...

    def embed_folder(self, path: str, encoder: str = "latest", **fields: Any) -> Job:
        """Queue a job that embeds every picture of a folder below the server's data root.

        `fields`: normalize, dimensions, shard_images, name, labels, as for POST /jobs. Then `wait(job.id)`, and `save_vectors`.
        Raises Rejected.
        """
        return self.submit(kind="embed", encoder=encoder, data={"source": "folder", "path": path}, **fields)

    def vectors(self, job_id: str) -> list[Json]:
        """The Parquet files of a finished job, in the order of their rows: file, images, errors, size_bytes, href."""
        return run(listed(job_id), self._transport.performer())

    def save_vectors(self, job_id: str, to: str | Path) -> Path:
        """All of a finished job's vectors as the one Parquet file `to`, which appears when it is whole.

        Columns: path, embedding (fixed-size list of float32, null where there is an error), error.
        """
        return run(saved(job_id, to), self._transport.performer())


def listed(job_id: str) -> Flow[list[Json]]:
    """See `BulkCalls.vectors`."""
    return list((yield from get(f"/jobs/{part(job_id)}/vectors"))["data"])


def saved(job_id: str, to: str | Path) -> Flow[Path]:
    """See `BulkCalls.save_vectors`."""
    target = Path(to)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder, replacing(target) as out:
        local, writer = Path(folder, "part"), None
        try:
            for each in (yield from listed(job_id)):
                with local.open("wb") as file:
                    yield from download(each["href"], file)
                writer = yield Work(partial(_append, writer, local, out))
            assert writer is not None  # a job without pictures fails
            yield Work(writer.close)
            yield on_disk(out)
        finally:
            if writer is not None:
                writer.close()  # while there is a file to close
    return target


def _append(writer: Any, rows_of: Path, out: BinaryIO) -> Any:
    """The rows of a Parquet file to the end of another, which the first begins; its writer."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(rows_of) as rows:
        writer = writer or pq.ParquetWriter(out, rows.schema_arrow)
        for group in range(rows.num_row_groups):
            writer.write_table(rows.read_row_group(group))
    return writer


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `target` once it is whole and on the disk."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            _flush(file)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def on_disk(file: BinaryIO) -> Work:
    """For the end of a flow that writes to `replacing`: leaves it nothing to wait for."""
    return Work(partial(_flush, file))


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def write_parquet(target: Path, answers: Iterable[tuple[str, Embedded]], about: dict[str, str]) -> tuple[int, list[Embedded]]:
    """(path, answer) as they come, to the same kind of file; how many vectors there are, and the answers without one."""
    import pyarrow.parquet as pq

    good, bad = 0, []
    waiting: list[tuple[str, Embedded]] = []
    with replacing(target) as out:
        schema = _schema(int(about["dimension"]), about)
        with pq.ParquetWriter(out, schema) as writer:
            for path, answer in answers:
                waiting.append((path, answer))
                if answer.vector is None:
                    bad.append(answer)
                else:
                    good += 1
                if len(waiting) == GROUP:
                    writer.write_table(_table(waiting, schema))
                    waiting = []
            if waiting:
                writer.write_table(_table(waiting, schema))
    return good, bad


def _schema(dim: int, about: dict[str, str]) -> Any:
    import pyarrow as pa

    vector = pa.list_(pa.field("element", pa.float32()), dim)
    return pa.schema([("path", pa.string()), ("embedding", vector), ("error", pa.string())], metadata=about)


def _table(rows: list[tuple[str, Embedded]], schema: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    kind = schema.field("embedding").type
    values: NDArray[np.float32] = np.zeros((len(rows), kind.list_size), np.float32)
    for at, (_, answer) in enumerate(rows):
        if answer.vector is not None:
            values[at] = answer.vector
    bad = pa.array([answer.vector is None for _, answer in rows])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind, mask=bad)
    # A file's name is bytes; those that are not UTF-8 are shown as such.
    paths = [path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for path, _ in rows]
    errors = pa.array([answer.error if answer.vector is None else None for _, answer in rows], pa.string())
    return pa.Table.from_arrays([pa.array(paths, pa.string()), vectors, errors], schema=schema)
