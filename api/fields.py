"""Fields that bodies share: short texts, and labels."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"  # of an alias
MOST_LABELS = 32


def _printable(text: str) -> str:
    """No control characters: databases refuse NUL, terminals obey the others."""
    if not text.isprintable():
        raise PydanticCustomError("unprintable", "must hold printable characters only", {})
    return text


def _few(labels: Any) -> Any:
    """Not too many, before each of them is looked at."""
    if isinstance(labels, dict) and len(labels) > MOST_LABELS:
        text = "has {count} labels, and may have {most}"
        raise PydanticCustomError("too_many", text, {"count": len(labels), "most": MOST_LABELS})
    return labels


Text200 = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
LabelKey = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
LabelValue = Annotated[str, Field(max_length=200), AfterValidator(_printable)]
Labels = Annotated[
    dict[LabelKey, LabelValue],
    BeforeValidator(_few),
    Field(max_length=MOST_LABELS, description="Your own key/value pairs."),
]
