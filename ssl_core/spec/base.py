"""The base of every config: strict, closed, and helpful when a field is mistyped. Knows no torch."""

from __future__ import annotations

import difflib
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError

LONGEST_SHOWN = 200  # characters


def _strict_scalars(schema: Any) -> None:
    """Mark every bool, int and float of a core schema, wherever it lies, as strict."""
    if isinstance(schema, dict):
        if schema.get("type") in ("bool", "int", "float"):
            schema["strict"] = True
        for name, part in schema.items():
            if name not in ("metadata", "default"):
                _strict_scalars(part)
    elif isinstance(schema, list | tuple):
        for part in schema:
            _strict_scalars(part)


def shown(text: str) -> str:
    """What a stranger wrote, as a sentence may say it: not all of a megabyte."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def nearest(name: str, valid: list[str]) -> str:
    """A sentence that names the closest valid spelling of `name`, or all of them."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = sorted(valid) if len(valid) <= 24 else [*sorted(valid)[:24], "…"]
    return "valid: " + ", ".join(shown)


class Config(BaseModel):
    """A frozen pydantic model that refuses unknown fields and names the nearest valid one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Numbers and truth values are what the schema says: neither "5" nor true is a number, and 1 is not true."""
        schema = handler(source)
        _strict_scalars(schema)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _unknown_fields(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = cls.model_fields  # looked up once: it is a descriptor, and a body has dozens of sections
            for key in value:
                if key not in known:
                    raise PydanticCustomError(
                        "unknown_field",
                        "'{field}' is not a field here; {hint}",
                        {"field": shown(str(key)), "hint": nearest(shown(str(key)), list(known))},
                    )
        return value

    def changed(self, **fields: Any) -> Self:
        """A validated copy with some fields replaced (`model_copy(update=...)` does not validate)."""
        return type(self).model_validate({**self.model_dump(), **fields})


_SELF_EXPLAINING = frozenset({"unknown_field", "unknown_arch", "unknown_method", "unknown_data", "path", "missing"})


def explain(error: ErrorDetails, tags: frozenset[str] = frozenset()) -> tuple[str, str]:
    """One pydantic error as (JSON pointer, sentence with the value and what would be right).

    `tags` are the discriminator values (method and source names) that pydantic puts into the location but that are not
    part of the document's path.
    """
    parts = [shown(str(part)) for part in error["loc"] if str(part) not in tags]
    if error["type"] == "unknown_field":
        parts.append(shown(str(error.get("ctx", {}).get("field", ""))))
    parts += str(error.get("ctx", {}).get("at", "")).split("/") if error.get("ctx", {}).get("at") else []
    pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
    message = error["msg"]
    given = error.get("input")
    if error["type"] not in _SELF_EXPLAINING and isinstance(given, str | int | float | bool | type(None)):
        message = f"{message} (got {shown(repr(given))})"
    return pointer or "", message


__all__ = ["Config", "ValidationError", "explain", "nearest", "shown"]
