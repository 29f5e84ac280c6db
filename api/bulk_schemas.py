"""Bodies of jobs of kind embed, and of what they leave behind."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api import examples
from api.fields import Labels, Text200
from api.schemas import Answer, Section
from ssl_core.spec.base import Config
from ssl_core.spec.embed import EmbedSpec

_FIELDS = EmbedSpec.model_fields


class EmbedCreate(Config):
    """Vectors of every picture of a folder, as Parquet files. The encoder that the name stands for now is the job's for good."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EMBED_CREATE]})

    name: Text200 | None = Field(None, description="For people; need not be unique.")
    kind: Literal["embed"]
    labels: Labels = Field(default_factory=dict)
    encoder: str = Field("latest", max_length=200, description="An encoder id, a job id, an alias, or `latest`.")
    data: Section = Field(description=f"{_FIELDS['data'].description}")
    normalize: bool = Field(False, description=f"{_FIELDS['normalize'].description}")
    dimensions: int | None = Field(None, ge=1, le=65536, description=f"{_FIELDS['dimensions'].description}")
    shard_images: int = Field(16384, ge=1, le=2**20, description=f"{_FIELDS['shard_images'].description}")


class VectorsPart(Answer):
    """One Parquet file: path, embedding (null for a picture that could not be read), error (null for all others)."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.VECTORS_PART]})

    file: str
    images: int = Field(description="Rows.")
    errors: int = Field(description="Rows with an error instead of a vector.")
    size_bytes: int
    href: str = Field(description="Where it is downloaded.")


Result = dict[str, Any]
