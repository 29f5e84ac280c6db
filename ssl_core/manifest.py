"""manifest.json: what an exported encoder is, and how images must be prepared for it. Knows no torch.

An encoder is a folder with model.safetensors (parameters and buffers, named as in torchvision or timm) and manifest.json. What
else it holds (the network as OpenVINO reads it, principal components) makes it faster or shorter, and may be missing.

EncoderError            a folder does not give an encoder
├── EncoderCorrupt      a file is missing, cut off, changed, or does not fit the others
└── UnsupportedFormat   written by another version, in a way that this one does not know
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT_VERSION = 1
MOST_BYTES = 16 * 2**20  # of a manifest: some kilobytes, and as much as is known of where imported weights are from
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.safetensors"
PROJECTION_FILE = "projection.safetensors"
_SHA256 = r"^[0-9a-f]{64}$"


class EncoderError(Exception):
    """A folder that does not give an encoder."""


class EncoderCorrupt(EncoderError):
    """A file is missing, cut off, changed, or does not fit the others."""


class UnsupportedFormat(EncoderError):
    """Written by another version of Imprint, in a way that this one does not know."""


Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    # Unknown fields are kept: a later version may add some without changing what is here.
    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class Resize(_Part):
    """The short side to `short_side` px, then the central square."""

    mode: Literal["short_side_then_center_crop"]
    interpolation: Literal["bilinear"]
    antialias: Literal[True]
    short_side: int = Field(ge=1)


class Preprocessing(_Part):
    """From a picture to the network's input: `ssl_core.data.images`, /255, minus mean, divided by std, per channel."""

    size: int = Field(ge=1, description="Side of the square the network sees, in pixels.")
    resize: Resize
    channels: Literal[3]
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]


class DataFacts(_Part):
    """What the encoder was trained on."""

    source: str
    images: int
    fingerprint: str


class BackendFacts(_Part):
    """A faster way to run the encoder, checked when it was exported."""

    used: bool = Field(description="Whether its vectors passed the check.")
    reason: str | None = Field(None, description="Why it is not used.")
    version: str | None = Field(None, description="Of the library that wrote the files.")
    images: int = Field(0, ge=0, description="Real images that it was checked on.")
    least_cosine: dict[str, float] = Field({}, description="To fp32 torch's vector, of the worst image, by precision.")
    files: dict[str, Annotated[str, Field(pattern=_SHA256)]] = Field({}, description="SHA-256 by name.")


class GridFacts(_Part):
    """Local features: patches of a vision transformer, the feature map of a convolutional network."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    dim: int = Field(ge=1)


class ProjectionFacts(_Part):
    """Principal components for shorter vectors."""

    most: int = Field(ge=1, description="The most dimensions it can give.")
    images: int = Field(ge=2, description="Training images it was fitted on.")
    explained: dict[str, float] = Field(description="Share of their variance that the first k components keep, for some k.")
    sha256: str = Field(pattern=_SHA256, description="Of projection.safetensors.")


class ImportFacts(_Part):
    """Where an encoder came from that was not trained here."""

    file: str = Field(description="What it was called.")
    sha256: str = Field(pattern=_SHA256, description="Of the file.")
    size_bytes: int = Field(ge=0, description="Of the file.")
    form: str = Field(description="lightning (of the reference implementation), torch or safetensors.")
    network: str | None = Field(None, description="Which of the networks in it, where there are several.")
    epoch: int | None = None
    hyper_parameters: dict[str, Any] | None = Field(None, description="As the file has them.")


class Manifest(_Part):
    """The content of manifest.json, format 1. What later versions added has a default."""

    format_version: Literal[1]
    arch: str
    stem: Literal["imagenet", "cifar"]
    dim: int = Field(ge=1)
    size: int = Field(ge=1)
    method: str
    preprocessing: Preprocessing
    data: DataFacts
    metrics: dict[str, float | None]
    spec: dict[str, Any]
    versions: dict[str, str | None]
    sha256: str = Field(pattern=_SHA256, description="Of model.safetensors.")
    size_bytes: int = Field(ge=0, description="Of model.safetensors.")
    created_at: str
    backends: dict[str, BackendFacts] = {}
    grid: GridFacts | None = None
    projection: ProjectionFacts | None = None
    imported: ImportFacts | None = None

    @property
    def extras(self) -> list[str]:
        """Files that belong to the encoder and that it can do without."""
        projection = [] if self.projection is None else [PROJECTION_FILE]
        return projection + [name for backend in self.backends.values() for name in backend.files]


def read_manifest(folder: Path) -> Manifest:
    """Read and check `folder`/manifest.json. Raises EncoderCorrupt and UnsupportedFormat, with the file and the field."""
    path = folder / MANIFEST_FILE
    try:
        if path.stat().st_size > MOST_BYTES:
            raise EncoderCorrupt(f"{path} has more than {MOST_BYTES:,} bytes")
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise EncoderCorrupt(f"{path} is missing: not the folder of an encoder") from error
    except OSError as error:
        raise EncoderCorrupt(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise EncoderCorrupt(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or "format_version" not in content:
        raise EncoderCorrupt(f"{path}: format_version is missing")
    if content["format_version"] != FORMAT_VERSION:
        raise UnsupportedFormat(
            f"{path}: format_version {content['format_version']!r} is not known here (known: {FORMAT_VERSION}); "
            "use the version of Imprint that wrote it, or a later one"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise _explained(error, path) from error


def _explained(error: ValidationError, path: Path) -> EncoderError:
    """The first problem as a sentence. A value of a closed choice is another version's; anything else is damage."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return EncoderCorrupt(f"{path}: {field} is missing")
    kind = UnsupportedFormat if first["type"] == "literal_error" else EncoderCorrupt
    return kind(f"{path}: {field}: {first['msg']} (got {first['input']!r})")
