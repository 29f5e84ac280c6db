"""What a search is for, whichever form its body has: one picture or one vector, and the options."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from api.body import aside, from_strings, is_json, media_type, parse_object, validated
from api.errors import Problem, invalid
from api.pictures import Picture, form_of, from_text, sized
from api.search_schemas import SearchOptions, SearchRequest


@dataclass(frozen=True)
class Wanted:
    """Either a picture or a vector, float32 (dim,), finite and not zero."""

    options: SearchOptions
    picture: Picture | None = None
    vector: NDArray[np.float32] | None = None


async def read(request: Request) -> Wanted:
    """The request in one of its forms. Raises Problem 413, 415 or 422."""
    kind = media_type(request)
    query: dict[str, Any] = dict(request.query_params.items())
    if is_json(kind):
        body = await request.body()
        return await aside(_from_json, body, query, size=len(body))
    if kind == "multipart/form-data":
        options, pictures = await form_of(request, query, "image")
        if len(pictures) != 1:
            raise invalid([("/image", f"{len(pictures)} pictures were sent; a search is for one, in the field 'image'")])
        return Wanted(validated(SearchOptions, from_strings(SearchOptions, options)), pictures[0])
    if kind.startswith("image/") or kind == "application/octet-stream":
        body = await request.body()
        if not body:
            raise invalid([("", "the body is empty; send the bytes of one picture")])
        return Wanted(validated(SearchOptions, from_strings(SearchOptions, query)), sized(body))
    detail = "Send application/json with `image` or `vector`, multipart/form-data with `image`, or one image/* body."
    raise Problem("unsupported-media-type", detail)


def _from_json(body: bytes, query: dict[str, str]) -> Wanted:
    asked = validated(SearchRequest, {**from_strings(SearchOptions, query), **parse_object(body)})
    options = SearchOptions(k=asked.k, thumbnails=asked.thumbnails)
    if (asked.image is None) == (asked.vector is None):
        given = "both" if asked.image is not None else "neither"
        raise invalid([("/image", f"send either `image` or `vector`; this has {given}")])
    if asked.image is not None:
        return Wanted(options, from_text(asked.image))
    assert asked.vector is not None
    return Wanted(options, vector=_vector(asked.vector))


def _vector(given: list[float] | str) -> NDArray[np.float32]:
    if isinstance(given, str):
        try:
            values = np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
        except (binascii.Error, ValueError):
            raise invalid([("/vector", "is not base64 of little-endian float32 values")]) from None
    else:
        with np.errstate(over="ignore"):
            values = np.asarray(given, np.float64).astype(np.float32)
    if not values.size or not np.isfinite(values).all() or not values.any():
        raise invalid([("/vector", "must hold finite float32 numbers that are not all zero")])
    return values
