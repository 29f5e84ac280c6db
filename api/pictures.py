"""The pictures of a POST /embed, whichever of the three forms they came in: multipart, JSON, or one raw image/* body.

Reads bytes and options only; pictures are decoded later, off the event loop. A picture that is not even base64 is kept as its
error, so that it can fail alone.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.body import aside, encodable_kind, from_strings, is_json, media_type, parse_object, validated
from api.embed_schemas import EmbedOptions, EmbedRequest
from api.errors import Problem, invalid
from api.middleware import MIB

MAX_IMAGES = 256
MAX_IMAGE_BYTES = 32 * MIB
MAX_FIELDS = 300  # of a form: pictures as text fields, and the options
_DATA_URI = re.compile(r"data:(?P<kind>[\w.+/-]*)(?:;[\w.+=/-]+)*?(?P<b64>;base64)?,", re.ASCII)
_SPACE = re.compile(r"[ \t\r\n]+")


@dataclass(frozen=True)
class Unreadable:
    """Why one picture cannot be used."""

    reason: str


Picture = bytes | Unreadable


@dataclass(frozen=True)
class Asked:
    """What a request wants: options, and pictures in their order."""

    options: EmbedOptions
    pictures: list[Picture]
    pointer: str = "/images/{}"  # where the body has the picture with a number, or the one that there is

    def problem(self, at: int, reason: str) -> tuple[str, str]:
        """(JSON pointer, sentence) of a picture that cannot be used."""
        return self.pointer.format(at), f"image {at}: {reason}" if "{}" in self.pointer else f"the image: {reason}"


async def read(request: Request) -> Asked:
    """The request in one of its three forms. Raises Problem 413, 415 or 422."""
    kind = media_type(request)
    query = {key: value for key, value in request.query_params.items()}
    if is_json(kind):
        body = await request.body()
        return await aside(_from_json, body, query, size=len(body))
    if kind == "multipart/form-data":
        return await _from_form(request, query)
    if kind.startswith("image/") or kind == "application/octet-stream":
        body = await request.body()
        if not body:
            raise invalid([("", "the body is empty; send the bytes of one picture")])
        return Asked(validated(EmbedOptions, from_strings(EmbedOptions, query)), [sized(body)])
    said = f"{encodable_kind(kind)} is none of them" if kind else "the request names no Content-Type"
    detail = f"Send pictures as multipart/form-data, application/json, or one image/* body; {said}."
    raise Problem("unsupported-media-type", detail)


def _from_json(body: bytes, query: dict[str, str]) -> Asked:
    asked = validated(EmbedRequest, {**from_strings(EmbedOptions, query), **parse_object(body)})
    counted(len(asked.images), "/images")
    options = EmbedOptions(**asked.model_dump(exclude={"images"}))
    return Asked(options, [from_text(text) for text in asked.images])


async def _from_form(request: Request, query: dict[str, str]) -> Asked:
    options, pictures = await form_of(request, query, "images")
    counted(len(pictures), "/images")
    return Asked(validated(EmbedOptions, from_strings(EmbedOptions, options)), pictures)


async def form_of(request: Request, query: dict[str, str], field: str) -> tuple[dict[str, Any], list[Picture]]:
    """A form's fields over those of the query, and the pictures in `field`. Raises Problem 413 or 422."""
    try:
        form = await request.form(max_files=MAX_IMAGES + 1, max_fields=MAX_FIELDS, max_part_size=MAX_IMAGE_BYTES * 4 // 3 + 1024)
    except (Problem, ClientDisconnect):
        raise
    except HTTPException as error:
        if str(error.detail).startswith("Too many"):
            raise Problem("too-large", f"At most {MAX_IMAGES} images in one request. ({error.detail})") from None
        raise invalid([("", f"the form cannot be read: {error.detail}")]) from None
    except Exception as error:  # the parser raises other things on headers made to break it
        raise invalid([("", f"the form cannot be read: {type(error).__name__}")]) from None
    try:
        options: dict[str, Any] = dict(query)
        pictures: list[Picture] = []
        for name, value in form.multi_items():
            if name == field:
                pictures.append(sized(await value.read()) if isinstance(value, UploadFile) else from_text(value))
            elif isinstance(value, UploadFile):
                raise invalid([(f"/{name}", f"is a file; pictures go into fields named {field!r}")])
            else:
                options[name] = value
    finally:
        await form.close()
    return options, pictures


def from_text(text: str) -> Picture:
    """Base64 (standard or URL-safe, padded or not) or a data URI as bytes."""
    found = _DATA_URI.match(text[:200])
    if found is not None:
        if found["b64"] is None:
            return Unreadable("a data URI must be base64: data:image/png;base64,…")
        text = text[found.end() :]
    elif text[:8].lower().startswith(("http://", "https://", "file://")):
        return Unreadable("addresses are not fetched; send the picture itself, as base64 or a data URI")
    if len(text) > MAX_IMAGE_BYTES * 4 // 3 + 65536:
        return _too_big(len(text) * 3 // 4)
    text = _SPACE.sub("", text).replace("-", "+").replace("_", "/").rstrip("=")
    if not text:
        return Unreadable("it is empty")
    try:
        return sized(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        return Unreadable("neither base64 nor a base64 data URI")


def sized(data: bytes) -> Picture:
    """The bytes of a picture, or that they are too many or none."""
    if not data:
        return Unreadable("it is empty")
    return _too_big(len(data)) if len(data) > MAX_IMAGE_BYTES else data


def _too_big(size: int) -> Unreadable:
    return Unreadable(f"{size / MIB:.1f} MiB; a picture may have {MAX_IMAGE_BYTES // MIB} MiB")


def counted(images: int, pointer: str) -> None:
    """Whether a request has a number of pictures that is taken. Raises Problem 413 or 422."""
    if images == 0:
        raise invalid([(pointer, f"no picture was sent; send 1 to {MAX_IMAGES} in '{pointer[1:]}'")])
    if images > MAX_IMAGES:
        detail = f"{images} images were sent; at most {MAX_IMAGES} in one request."
        raise Problem("too-large", detail, [(pointer, detail)])
