"""The forms in which embeddings are answered: JSON with floats or base64, .npy, an Arrow stream."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import orjson

from api.embed_schemas import EmbedOptions
from api.embedding import Embedded
from api.errors import Problem
from api.pictures import Unreadable

JSON = "application/json"
NPY = "application/x-npy"
ARROW = "application/vnd.apache.arrow.stream"
_TAKEN_FOR = {  # what may stand in Accept: the form it gets
    JSON: JSON,
    "application/*": JSON,
    "*/*": JSON,
    NPY: NPY,
    "application/octet-stream": NPY,
    ARROW: ARROW,
}


def encoded(embedded: Embedded, form: str, options: EmbedOptions) -> bytes:
    """The body of the answer."""
    if form == NPY:
        return as_npy(embedded)
    return as_arrow(embedded) if form == ARROW else as_json(embedded, options)


def as_json(embedded: Embedded, options: EmbedOptions) -> bytes:
    """The list, in the order of the pictures. orjson writes numpy rows as they are: the shortest text of each float32."""
    data: list[dict[str, Any]] = []
    *grid, dim = embedded.shape
    values = embedded.values.reshape(len(embedded.values), math.prod(grid), dim) if grid else embedded.values
    taken = iter(np.ascontiguousarray(values, np.float32))
    for index, row in enumerate(embedded.rows):
        if isinstance(row, Unreadable):
            error = {"code": "bad_image", "message": f"image {index}: {row.reason}"}
            data.append({"index": index, "embedding": None, "error": error})
        else:
            vector = next(taken)
            data.append({"index": index, "embedding": in_base64(vector) if options.encoding_format == "base64" else vector})
    body: dict[str, Any] = {"object": "list", "encoder": embedded.loaded.id, "dim": dim}
    if grid:
        body["grid"] = grid
    if embedded.explained is not None:
        body["explained_variance"] = round(embedded.explained, 6)
    body["data"] = data
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def in_base64(vector: np.ndarray[Any, Any]) -> str:
    """Of the values as little-endian float32, row by row."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def as_npy(embedded: Embedded) -> bytes:
    """A .npy file: float32 (N, *shape), NaN where a picture could not be read."""
    full = np.full((len(embedded.rows), *embedded.shape), np.nan, np.float32)
    full[[not isinstance(row, Unreadable) for row in embedded.rows]] = embedded.values
    file = io.BytesIO()
    np.save(file, full, allow_pickle=False)
    return file.getvalue()


def as_arrow(embedded: Embedded) -> bytes:
    """An Arrow IPC stream with the columns index (int32), embedding (fixed-size list of float32, null where a picture could not
    be read; local features lie row by row) and error (string or null). The schema's metadata hold `encoder` and `shape`."""
    import pyarrow as pa  # takes a quarter of a second, and few ask for it

    errors = [f"image {at}: {row.reason}" if isinstance(row, Unreadable) else None for at, row in enumerate(embedded.rows)]
    width = int(np.prod(embedded.shape))
    full = np.zeros((len(errors), width), np.float32)
    missing = np.array([error is not None for error in errors])
    full[~missing] = embedded.values.reshape(len(embedded.values), width)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(full.reshape(-1)), width, mask=pa.array(missing))
    shape = ",".join(str(side) for side in embedded.shape)
    columns = {"index": pa.array(range(len(errors)), pa.int32()), "embedding": lists, "error": pa.array(errors, pa.string())}
    table = pa.table(columns).replace_schema_metadata({"encoder": embedded.loaded.id, "shape": shape})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def wanted(accept: str) -> str:
    """Which of the forms the Accept header prefers. Raises 406 if it takes none."""
    best, chosen = 0.0, None
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((_number(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
        form = _TAKEN_FOR.get(kind)
        if form is not None and quality > best:
            best, chosen = quality, form
    if chosen is None:
        raise Problem("not-acceptable", f"Embeddings come as {JSON}, {NPY} or {ARROW}; Accept asks for {accept[:200]!r}.")
    return chosen


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0
