"""EmbedSpec: everything that defines one job of kind embed, validated without importing torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ssl_core.spec.base import Config
from ssl_core.spec.data import DataConfig


class EmbedSpec(Config):
    """Vectors of every picture of a folder, complete."""

    kind: Literal["embed"] = "embed"
    encoder: str = Field(min_length=1, max_length=200, description="The encoder's id; the trainer is told where its files lie.")
    data: DataConfig = Field(
        description="Which pictures: source `folder`, `imagenet` or `dataset`. All below it are embedded, held out or not; how "
        "they are prepared is the encoder's own affair."
    )
    normalize: bool = Field(False, description="Vectors of length 1.")
    dimensions: int | None = Field(
        None, ge=1, le=65536, description="So many principal components instead of all dimensions, as for POST /embed."
    )
    shard_images: int = Field(
        16384, ge=1, le=2**20, description="Images in one Parquet file. After a crash at most one of them is done again."
    )
