"""POST /embed: pictures in, vectors out.

read the form -> find the encoder -> decode in threads -> batch -> floats, base64 or npy. `Server-Timing` says how long each took.
"""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import re
import time
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response

from api.batcher import QueueFull, Vectors
from api.deps import Services, ServicesDep
from api.embed_schemas import EmbedBody, EmbedOptions
from api.embedders import Loaded
from api.errors import Problem, invalid
from api.pictures import Asked, Picture, Unreadable, read
from ssl_core.data.errors import BadImage
from ssl_core.manifest import EncoderError

log = logging.getLogger("api")
router = APIRouter(tags=["embed"])
NPY = "application/x-npy"
DEADLINE = 60.0  # seconds from the complete body to the answer
LOAD_RETRY = 5  # seconds, for Retry-After while an encoder is loading for longer than the deadline
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")


@router.post("/embed", response_model=EmbedBody, summary="Embed pictures")
async def embed(request: Request, services: ServicesDep) -> Response:
    """Vectors of 1 to 256 pictures, in their order.

    Three forms of body: `multipart/form-data` with files in `images`; JSON; or the bytes of one picture (`image/*`) with the
    options in the query. `Accept: application/x-npy` answers with a float32 array (N, dim) instead of JSON, with rows of NaN for
    pictures that could not be read under `on_error=null`.
    """
    npy = wants_npy(request.headers.get("accept", ""))
    if services.draining.is_set():
        raise Problem("unavailable", "The service is stopping.", headers={"Retry-After": "5"})
    asked = await read(request)
    try:
        with services.batcher.admit(len(asked.pictures)):
            return await _while_connected(request, asyncio.wait_for(_answer(services, asked, npy), DEADLINE))
    except QueueFull as full:
        detail = f"{full}; try again in {full.retry_after} s."
        raise Problem("busy", detail, headers={"Retry-After": str(full.retry_after)}) from None
    except TimeoutError:
        detail = f"The embeddings were not ready within {DEADLINE:.0f} s; send fewer pictures at once, or try again."
        raise Problem("timeout", detail, headers={"Retry-After": str(LOAD_RETRY)}) from None


async def _answer(services: Services, asked: Asked, npy: bool) -> Response:
    loaded = await load(services, asked.options.encoder)
    started = time.perf_counter()
    rows = await decode(services, loaded, asked.pictures)
    bad = [(at, row.reason) for at, row in enumerate(rows) if isinstance(row, Unreadable)]
    services.telemetry.add("imprint_embed_bad_images_total", len(bad))
    if bad and asked.options.on_error == "fail":
        raise invalid([(f"/images/{at}", f"image {at} {reason}") for at, reason in bad])
    decoded = time.perf_counter()

    good = [row for row in rows if not isinstance(row, Unreadable)]
    vectors: Vectors = np.zeros((0, loaded.dim), np.float32)
    queue = infer = 0.0
    if good:
        result = await services.batcher.submit(loaded.id, good, loaded.run)
        vectors, queue, infer = result.vectors, result.queue, result.infer
        if not np.isfinite(vectors).all():
            raise Problem(
                "conflict", f"Encoder {loaded.id} gives values that are not finite; train it again, see its job's health."
            )
    services.telemetry.add("imprint_embed_images_total", len(good))

    encoding = time.perf_counter()
    if asked.options.normalize:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    body = as_npy(vectors, rows) if npy else as_json(vectors, rows, loaded, asked.options)
    stages = {"decode": decoded - started, "queue": queue, "infer": infer, "encode": time.perf_counter() - encoding}
    timing = ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in stages.items())
    return Response(
        body, media_type=NPY if npy else "application/json", headers={"Server-Timing": timing, "X-Encoder": loaded.id}
    )


async def load(services: Services, name: str) -> Loaded:
    """The encoder behind an id, a job's id or an alias. Raises 404, and 409 for a job without an encoder yet."""
    if not _NAME.fullmatch(name):
        raise Problem("not-found", f"There is no encoder {name[:100]!r}; GET /encoders lists them.")
    record = await asyncio.to_thread(services.repository.resolve_encoder, name)
    try:
        return await services.embedders.get(record.id, services.encoder_folder(record))
    except EncoderError as error:
        log.error("encoder %s cannot be loaded: %s", record.id, error)
        detail = f"The files of encoder {record.id} are damaged or of another version; the service's log says how."
        raise Problem("conflict", detail) from None


async def decode(services: Services, loaded: Loaded, pictures: Sequence[Picture]) -> list[Any]:
    """Every picture as the tensor (3, S, S) its encoder wants, or Unreadable; in threads, with the encoder's preprocessing."""

    def one(picture: Picture) -> Any:
        if isinstance(picture, Unreadable):
            return picture
        try:
            return loaded.embedder.preprocess(picture)
        except BadImage as error:
            return Unreadable(error.reason)

    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(services.decoders, one, picture) for picture in pictures)))


def as_json(vectors: Vectors, rows: Sequence[Any], loaded: Loaded, options: EmbedOptions) -> bytes:
    """The list, in the order of the pictures. orjson writes numpy rows as they are: the shortest text of each float32."""
    data: list[dict[str, Any]] = []
    taken = iter(np.ascontiguousarray(vectors, np.float32))
    for index, row in enumerate(rows):
        if isinstance(row, Unreadable):
            error = {"code": "bad_image", "message": f"image {index} {row.reason}"}
            data.append({"index": index, "embedding": None, "error": error})
        else:
            vector = next(taken)
            coded = base64.b64encode(vector.astype("<f4").tobytes()).decode() if options.encoding_format == "base64" else vector
            data.append({"index": index, "embedding": coded})
    body = {"object": "list", "encoder": loaded.id, "dim": loaded.dim, "data": data}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def as_npy(vectors: Vectors, rows: Sequence[Any]) -> bytes:
    """A .npy file: float32 (N, dim), NaN where a picture could not be read."""
    full = np.full((len(rows), vectors.shape[1]), np.nan, np.float32)
    full[[not isinstance(row, Unreadable) for row in rows]] = vectors
    file = io.BytesIO()
    np.save(file, full, allow_pickle=False)
    return file.getvalue()


def wants_npy(accept: str) -> bool:
    """Which of the two forms the Accept header prefers. Raises 406 if it takes neither."""
    best, chosen = 0.0, None
    for part in accept.split(",") if accept.strip() else ["*/*"]:
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((_number(each[2:]) for each in parameters if each.startswith("q=")), 1.0)
        form = {NPY: True, "application/octet-stream": True}.get(kind)
        if kind in {"*/*", "application/*", "application/json"}:
            form = False
        if form is not None and quality > best:
            best, chosen = quality, form
    if chosen is None:
        raise Problem("not-acceptable", f"Embeddings come as application/json or {NPY}; Accept asks for {accept[:200]!r}.")
    return chosen


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


async def _while_connected(request: Request, answer: Awaitable[T]) -> T:
    """The answer, or its cancellation as soon as the client has gone: nobody waits for work that nobody wants."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Problem("bad-request", "The connection ended before the answer was ready.")
        return work.result()
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)
