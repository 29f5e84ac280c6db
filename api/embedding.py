"""From the pictures of a request to their embeddings, whatever the form of the request and of its answer.

find the encoder -> decode in threads -> batch -> shorten, scale. How long each took is kept for `Server-Timing`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from fastapi import Request

from api.batcher import QueueFull, Vectors
from api.deps import Services
from api.embed_schemas import EmbedOptions
from api.embedders import Loaded
from api.errors import Problem, invalid
from api.pictures import Asked, Picture, Unreadable
from jobs.errors import JobsError
from ssl_core.data.errors import BadImage
from ssl_core.inference.base import unit
from ssl_core.manifest import EncoderError, Manifest

log = logging.getLogger("api")
LOAD_RETRY = 5  # seconds, for Retry-After while an encoder is loading for longer than the deadline
MAX_PATCH_VALUES = 16 * 2**20  # float32 of local features in one answer: 64 MiB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")


@dataclass(frozen=True)
class Embedded:
    """rows: for each picture its prepared pixels, or why it has none. values: float32 (good pictures, *shape), in their order."""

    loaded: Loaded
    rows: Sequence[Any]
    values: Vectors
    explained: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one embedding: (dim,) or (rows, columns, width)."""
        return self.values.shape[1:]

    def timing(self, encode: float) -> str:
        """The value of `Server-Timing`."""
        stages = {**self.seconds, "encode": encode}
        return ", ".join(f"{name};dur={seconds * 1000:.2f}" for name, seconds in stages.items())


async def embedded(request: Request, services: Services, asked: Asked, answer: Callable[[Embedded], Awaitable[T]]) -> T:
    """`answer` of the embeddings of a request that has been read, within the deadline and while its client is connected.

    Raises Problem: 404, 409, 413, 422, 429 when too much is waiting, 503 while draining, 504 after the deadline.
    """
    outcome = "error"
    try:
        result = await _bounded(request, services, asked, answer)
        outcome = "ok"
        return result
    except Problem as problem:
        outcome = problem.kind
        raise
    except JobsError:
        outcome = "not-found"
        raise
    finally:
        services.telemetry.add("imprint_embed_requests", outcome=outcome)


async def _bounded(request: Request, services: Services, asked: Asked, answer: Callable[[Embedded], Awaitable[T]]) -> T:
    if services.draining.is_set():
        raise Problem("unavailable", "The service is stopping.", headers={"Retry-After": "5"})
    deadline = services.settings.embed_deadline_seconds
    size = sum(len(each) for each in asked.pictures if isinstance(each, bytes))

    async def work() -> T:
        return await answer(await _embed(services, asked))

    try:
        with services.batcher.admit(len(asked.pictures), size):
            return await _while_connected(request, asyncio.wait_for(work(), deadline))
    except QueueFull as full:
        detail = f"{full}; try again in {full.retry_after} s."
        raise Problem("busy", detail, headers={"Retry-After": str(full.retry_after)}) from None
    except TimeoutError:
        detail = f"The embeddings were not ready within {deadline:g} s; send fewer pictures at once, or try again."
        raise Problem("timeout", detail, headers={"Retry-After": str(LOAD_RETRY)}) from None


async def _embed(services: Services, asked: Asked) -> Embedded:
    options = asked.options
    started = time.perf_counter()
    # As a rule it is what the name meant before: the pictures are decoded while the database is asked.
    early = _decode_early(services, asked)
    (decoded_for, rows), loaded = await asyncio.gather(early, load(services, options.encoder))
    if loaded.id != decoded_for:
        started = time.perf_counter()
        rows = await decode(services, loaded, asked.pictures)
    decoding = time.perf_counter() - started
    shorten = _projection(loaded, options)
    shape = _shape(loaded, options, len(asked.pictures))
    services.telemetry.observe("imprint_embed_decode_seconds", decoding)
    bad = [(at, row.reason) for at, row in enumerate(rows) if isinstance(row, Unreadable)]
    services.telemetry.add("imprint_embed_bad_images", len(bad))
    if bad and options.on_error == "fail":
        raise invalid([asked.problem(at, reason) for at, reason in bad])

    good = [row for row in rows if not isinstance(row, Unreadable)]
    values: Vectors = np.zeros((0, *shape), np.float32)
    queue = infer = 0.0
    if good:
        key, run = (loaded.id, loaded.run) if options.layer == "pooled" else (f"{loaded.id}/patch", loaded.run_grids)
        result = await services.batcher.submit(key, good, run, row_bytes=good[0].nbytes)
        values, queue, infer = result.vectors, result.queue, result.infer
        if not np.isfinite(values).all():
            detail = f"Encoder {loaded.id} gives values that are not finite; train it again, see its job's health."
            raise Problem("conflict", detail)
    services.telemetry.add("imprint_embed_images", len(good))
    if shorten is not None and options.dimensions is not None:
        values = shorten(values, options.dimensions)
    if options.normalize:
        values = unit(values)
    explained = None if shorten is None or options.dimensions is None else shorten.kept(options.dimensions)
    return Embedded(loaded, rows, values, explained, {"decode": decoding, "queue": queue, "infer": infer})


async def _decode_early(services: Services, asked: Asked) -> tuple[str | None, list[Any]]:
    """The rows, for the encoder that the name most likely means, and its id. It is let go of here: see Embedders.get."""
    likely = services.embedders.meant(asked.options.encoder, services.caller.owner)
    return (likely.id, await decode(services, likely, asked.pictures)) if likely else (None, [])


async def load(services: Services, name: str) -> Loaded:
    """The encoder behind an id, a job's id or an alias. Raises 404, and 409 for a job without an encoder yet."""
    if not _NAME.fullmatch(name):
        raise Problem("not-found", f"There is no encoder {name[:100]!r}; GET /encoders lists them.")
    found = services.embedders.find(name)
    if found is not None and services.caller.admin:  # by its id: what that stands for never changes; others may not see it
        return found
    encoder_id, folder = await asyncio.to_thread(services.repository.locate_encoder, name)
    services.embedders.remember(name, encoder_id, services.caller.owner)
    try:
        return await services.embedders.get(encoder_id, services.settings.home / folder)
    except EncoderError as error:
        log.error("encoder %s cannot be loaded: %s", encoder_id, error)
        detail = f"The files of encoder {encoder_id} are damaged or of another version; the service's log says how."
        raise Problem("conflict", detail) from None


async def decode(services: Services, loaded: Loaded | None, pictures: Sequence[Picture]) -> list[Any]:
    """Every picture as the pixels that its encoder wants, uint8 (S, S, 3), or Unreadable; in threads, with the encoder's own
    preprocessing. Nothing without an encoder."""
    if loaded is None:
        return []

    def one(picture: Picture) -> Any:
        if isinstance(picture, Unreadable):
            return picture
        try:
            return loaded.embedder.preprocess(picture)
        except BadImage as error:
            return Unreadable(error.reason)

    loop = asyncio.get_running_loop()
    return list(await asyncio.gather(*(loop.run_in_executor(services.decoders, one, picture) for picture in pictures)))


def _projection(loaded: Loaded, options: EmbedOptions) -> Any:
    """What shortens the vectors, if `dimensions` was given and can be had. Raises 422."""
    if options.dimensions is None:
        return None
    if options.layer == "patch":
        raise invalid([("/dimensions", "is for layer = 'pooled': the components were fitted on whole pictures")])
    found = loaded.embedder.projection
    reason = no_such_dimensions(options.dimensions, loaded.embedder.facts)
    if reason is not None:
        raise invalid([("/dimensions", reason)])
    return found


def no_such_dimensions(asked: int, encoder: Manifest) -> str | None:
    """Why an encoder cannot give so many principal components, or None if it can."""
    if encoder.projection is None:
        return "this encoder was exported without principal components; leave `dimensions` out, or train it again"
    most = encoder.projection.most
    return None if asked <= most else f"is {asked}; this encoder can give 1 to {most}, or all {encoder.dim} without `dimensions`"


def _shape(loaded: Loaded, options: EmbedOptions, pictures: int) -> tuple[int, ...]:
    """Of one embedding before it is shortened. Raises 413 and 422."""
    if options.layer == "pooled":
        return (loaded.dim,)
    grid = loaded.embedder.facts.grid
    if grid is None:
        what = loaded.embedder.facts.arch
        raise invalid([("/layer", f"encoder {loaded.id} ({what}) has no local features; use layer = 'pooled'")])
    shape = (grid.rows, grid.columns, grid.dim)
    most = max(1, MAX_PATCH_VALUES // int(np.prod(shape)))
    if pictures > most:
        detail = f"{pictures} images with layer = 'patch' were sent; at most {most} in one request to this encoder."
        raise Problem("too-large", detail, [("/images", detail)])
    return shape


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
