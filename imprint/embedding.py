"""Pictures to vectors through POST /embed. Speaks HTTP only."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imprint import images as image_files
from imprint.errors import UsageError
from imprint.flow import Call, Flow, Item, iterate, run
from imprint.images import Image
from imprint.records import Embedded, Json
from imprint.results import Results
from imprint.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 64  # images in one request to /embed
BATCH_BYTES = 16 * 2**20  # bytes of image files after which a request takes no further one
Layer = Literal["pooled", "patch"]


def vectors(
    images: Iterable[Image], encoder: str, normalize: bool, dimensions: int | None, layer: Layer, batch_size: int
) -> Flow[NDArray[np.float32]]:
    """See `EmbedCalls.embed`."""
    import io

    import numpy as np

    asked = {"layer": layer, **_wishes(normalize, dimensions)}
    rows, numbered = [], enumerate(images)
    while batch := (yield from image_files.batch(numbered, batch_size, BATCH_BYTES)):
        for _, content in batch:
            if isinstance(content, UsageError):
                raise content
        answer = yield _embed(encoder, batch, accept="application/x-npy", **asked)
        rows.append(np.load(io.BytesIO(answer.content), allow_pickle=False))
    if not rows:
        raise UsageError("no images to embed")
    return np.concatenate(rows).astype(np.float32, copy=False)


def each(images: Iterable[Image], encoder: str, normalize: bool, dimensions: int | None, batch_size: int) -> Flow[None]:
    """See `EmbedCalls.embed_each`."""
    import numpy as np

    asked = {"encoding_format": "base64", "on_error": "null", **_wishes(normalize, dimensions)}
    numbered = enumerate(images)
    while batch := (yield from image_files.batch(numbered, batch_size, BATCH_BYTES)):
        readable = [(name, content) for name, content in batch if isinstance(content, bytes)]
        items: Iterator[Json] = iter(())
        if readable:
            items = iter((yield _embed(encoder, readable, accept="application/json", **asked)).json()["data"])
        for name, content in batch:
            if isinstance(content, UsageError):
                yield Item(Embedded(name, None, str(content)))
                continue
            item = next(items)
            vector = item.get("embedding")
            if isinstance(vector, str):
                yield Item(Embedded(name, np.frombuffer(base64.b64decode(vector), dtype="<f4")))
            else:
                yield Item(Embedded(name, None, _reason(item.get("error"))))


class EmbedCalls:
    """The part of `imprint.Client` that embeds pictures."""

    _transport: Transport

    def embed(
        self,
        images: Iterable[Image],
        encoder: str = "latest",
        *,
        normalize: bool = False,
        dimensions: int | None = None,
        layer: Layer = "pooled",
        batch_size: int = BATCH,
    ) -> NDArray[np.float32]:
        """Feature vectors, one row per image in the order given: (N, dim) float32.

        `images`: paths, the bytes of image files, or PIL images. `normalize`: to length 1. `dimensions`: so many principal
        components of the training images instead of all. `layer="patch"`: local features, (N, rows, columns, width). Raises
        Rejected, or UsageError, naming the first image that cannot be read (`embed_each` reports it and goes on).
        """
        return run(vectors(images, encoder, normalize, dimensions, layer, batch_size), self._transport.performer())

    def embed_each(
        self,
        images: Iterable[Image],
        encoder: str = "latest",
        *,
        normalize: bool = False,
        dimensions: int | None = None,
        batch_size: int = BATCH,
    ) -> Results[Embedded]:
        """One answer per image, in order, as batches come back; a bad image is an answer with an `error`, not an exception."""
        return Results(iterate(each(images, encoder, normalize, dimensions, batch_size), self._transport.performer()))


def _embed(encoder: str, batch: Iterable[tuple[str, Any]], *, accept: str, **fields: str) -> Call:
    files = [("images", (Path(name).name, content)) for name, content in batch]
    # Reading features changes nothing, so a broken connection may be tried again.
    return Call("POST", "/embed", data={"encoder": encoder, **fields}, files=files, headers={"Accept": accept}, repeatable=True)


def _wishes(normalize: bool, dimensions: int | None) -> dict[str, str]:
    """As fields of a form."""
    asked = {"normalize": str(normalize).lower()}
    return asked if dimensions is None else {**asked, "dimensions": str(dimensions)}


def _reason(error: Any) -> str:
    """Why an image has no vector, without its place in the request, which means nothing to the caller."""
    said = str(error.get("message") or error) if isinstance(error, dict) else str(error or "no vector came back")
    return re.sub(r"^image \d+: ", "", said)
