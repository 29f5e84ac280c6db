"""JSON bodies, read strictly: UTF-8, no NaN, no lone surrogates, bounded depth. What is wrong is a 415 or a 422."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, TypeAdapter, ValidationError

from api.errors import Problem, invalid
from ssl_core.spec.base import explain

Model = TypeVar("Model", bound=BaseModel)
MAX_DEPTH = 32  # a spec needs five
LONG = 128 * 2**10  # bytes of a body that others should not wait for
T = TypeVar("T")


def media_type(request: Request) -> str:
    """The body's media type in lower case, without parameters; empty if none is given."""
    return str(request.headers.get("content-type", "")).partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON's or one of its relatives'."""
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises Problem 415 or 422."""
    kind = media_type(request)
    if not is_json(kind):
        said = f"not {encodable_kind(kind)}" if kind else "and the request names no Content-Type"
        raise Problem("unsupported-media-type", f"The body must be JSON (Content-Type: application/json), {said}.")
    body = await request.body()
    return await aside(parse_object, body, size=len(body))


def parse_object(body: bytes) -> dict[str, Any]:
    """Bytes as a JSON object. Raises Problem 422."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid([("", f"the body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}")]) from None
    if _deeper(value, MAX_DEPTH):
        raise invalid([("", f"the body is nested more than {MAX_DEPTH} levels deep")])
    if not isinstance(value, dict):
        raise invalid([("", f"the body must be a JSON object, not {_kind(value)}")])
    return value


def encodable_kind(kind: str) -> str:
    """A media type as it may be shown."""
    return repr(kind[:100])


def validated(model: type[Model], value: dict[str, Any]) -> Model:
    """The object as a model. Raises Problem 422 with a pointer for everything that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid([explain(each) for each in error.errors(include_url=False)]) from None


def from_strings(model: type[BaseModel], value: dict[str, Any]) -> dict[str, Any]:
    """Fields of a form or a query, where numbers and truth values are text, as JSON has them; what is wrong stays."""
    return {name: _typed(model, name, text) for name, text in value.items()}


async def aside(work: Callable[..., T], *given: Any, size: int) -> T:
    """`work(*given)`; beside the event loop where a body of `size` bytes may take a while."""
    return await asyncio.to_thread(work, *given) if size > LONG else work(*given)


def _typed(model: type[BaseModel], name: str, text: Any) -> Any:
    if name not in model.model_fields or not isinstance(text, str):
        return text
    try:
        return _adapter(model, name).validate_strings(text)
    except ValidationError:
        return text


@lru_cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    form: Any = model.model_fields[name].annotation
    return TypeAdapter(form)


def _deeper(value: object, limit: int) -> bool:
    """Whether arrays and objects lie in each other more than `limit` times."""
    level: list[object] = [value]
    for _ in range(limit + 1):
        level = [inner for each in level for inner in _children(each)]
    return bool(level)


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _kind(value: object) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
