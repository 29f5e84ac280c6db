"""What /embed takes and answers, as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api import examples
from api.schemas import Answer, JobError
from ssl_core.spec.base import Config


class EmbedOptions(Config):
    """Everything of POST /embed but the images: JSON fields, form fields, or query parameters."""

    encoder: str = Field("latest", max_length=200, description="Encoder id, job id, or alias; `latest` is the newest encoder.")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: of the little-endian float32 values.")
    normalize: bool = Field(False, description="Scale every embedding to length 1 (after `dimensions`).")
    dimensions: int | None = Field(
        None, ge=1, description="So many numbers instead of `dim`: the first principal components of the training images."
    )
    layer: Literal["pooled", "patch"] = Field(
        "pooled", description="patch: local features, row by row: a vision transformer's patches, a convolutional feature map."
    )
    on_error: Literal["fail", "null"] = Field(
        "fail", description="A picture that cannot be read fails the request, or gets null and its own error."
    )


class EmbedRequest(EmbedOptions):
    """The JSON form of POST /embed."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EMBED]})

    images: Annotated[list[str], Field(fail_fast=True)] = Field(
        description="Base64 or data URIs (`data:image/png;base64,…`); 1 to 256."
    )


class EmbedItem(Answer):
    """One image's embedding, in the place the image had."""

    index: int
    embedding: list[float] | list[list[float]] | str | None
    error: JobError | None = None


class EmbedBody(Answer):
    """Embeddings in the order of the images."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.EMBEDDED]})

    object: Literal["list"] = "list"
    encoder: str
    dim: int = Field(description="Numbers in an embedding, or in one local feature.")
    grid: tuple[int, int] | None = Field(None, description="Rows and columns of local features, with `layer=patch`.")
    explained_variance: float | None = Field(
        None, description="Share of the training images' variance that `dimensions` keeps, if it was given."
    )
    data: list[EmbedItem]
