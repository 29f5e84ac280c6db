"""POST /embed: pictures in, vectors out."""

from __future__ import annotations

import asyncio
import time

from fastapi import APIRouter, Request, Response

from api.answers import encoded, wanted
from api.deps import ServicesDep
from api.embed_schemas import EmbedBody
from api.embedding import Embedded, embedded
from api.pictures import read

router = APIRouter(tags=["embed"])
LARGE = 2**18  # bytes of values: writing more takes a thread of its own, so that others are not kept waiting


@router.post("/embed", response_model=EmbedBody, summary="Embed pictures")
async def embed(request: Request, services: ServicesDep) -> Response:
    """Vectors of 1 to 256 pictures, in their order.

    Three forms of body: `multipart/form-data` with files in `images`; JSON; or the bytes of one picture (`image/*`) with the
    options in the query. `Accept` chooses the form of the answer: JSON; `application/x-npy`, a float32 array (N, dim) with rows
    of NaN for pictures that could not be read under `on_error=null`; or `application/vnd.apache.arrow.stream`, with the columns
    index, embedding and error.
    """
    form = wanted(request.headers.get("accept", ""))
    asked = await read(request)

    async def answer(found: Embedded) -> Response:
        started = time.perf_counter()
        large = found.values.nbytes > LARGE or "arrow" in form
        body = await asyncio.to_thread(encoded, found, form, asked.options) if large else encoded(found, form, asked.options)
        headers = {"Server-Timing": found.timing(time.perf_counter() - started), "X-Encoder": found.loaded.id}
        return Response(body, media_type=form, headers=headers)

    return await embedded(request, services, asked, answer)
