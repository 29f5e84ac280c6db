"""IndexSpec: everything that defines one job of kind index, validated without importing torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ssl_core.spec.base import Config


class IndexSpec(Config):
    """An index over the vectors of an embed job, complete."""

    kind: Literal["index"] = "index"
    encoder: str = Field(min_length=1, max_length=200, description="The encoder's id.")
    vectors: str = Field(min_length=1, max_length=200, description="The embed job that made the vectors.")
    data: dict[str, Any] = Field(default_factory=dict, description="The pictures, as that job's spec names them.")
