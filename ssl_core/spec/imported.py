"""ImportSpec: everything that defines one job of kind import, validated without importing torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from ssl_core.spec.base import Config
from ssl_core.spec.encoder import known_arch

Three = Annotated[tuple[float, float, float], Field(description="One for each of red, green and blue.")]
Positive = Annotated[float, Field(gt=0)]


class ImportSpec(Config):
    """A file of weights that becomes an encoder. What is left out is taken from the file, where it says so."""

    kind: Literal["import"] = "import"
    upload: str = Field("", max_length=40, description="The file that was sent; the job is told where it lies.")
    filename: str = Field("weights", min_length=1, max_length=200, description="What it was called.")
    sha256: str = Field("", max_length=64, description="Of the file.")
    size_bytes: int = Field(0, ge=0, description="Of the file.")
    arch: str | None = Field(
        None, max_length=100, description="The network, as encoder.arch. A checkpoint of the reference implementation says it."
    )
    stem: Literal["auto", "imagenet", "cifar"] = Field(
        "auto", description="As encoder.stem; auto: by the file's first convolution."
    )
    size: int | None = Field(None, ge=8, le=1024, description="Side of the images it sees, in px. Default: the file's, or 224.")
    short_side: int | None = Field(
        None,
        ge=8,
        le=2048,
        description="To which the short side is resized before `size` is cut out. Default: the file's, or 8/7 of `size`.",
    )
    mean: Three | None = Field(None, description="Of the normalisation. Default: ImageNet's.")
    std: tuple[Positive, Positive, Positive] | None = Field(None, description="Of the normalisation. Default: ImageNet's.")
    network: Literal["model", "lagging_model"] = Field(
        "model", description="Of a checkpoint of the reference implementation: the network that learned, or its moving average."
    )

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str | None) -> str | None:
        return None if arch is None else known_arch(arch)
