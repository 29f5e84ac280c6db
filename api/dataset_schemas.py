"""Bodies of the routes below /datasets."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from api import examples
from api.fields import Text200
from api.schemas import Answer
from ssl_core.spec.base import Config


class DatasetCreate(Config):
    """A folder below the data root, under an id."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_CREATE]})

    name: Text200
    path: str = Field(max_length=1000, description="Folder below the data root.")


class UploadQuery(Config):
    """What is said of a ZIP beside it: in the address, or (the name) in a field of the form."""

    name: Text200 | None = Field(None, description="Of the dataset, if the body is a ZIP.")
    offset: int = Field(
        0,
        ge=0,
        description="The body is the ZIP from this byte on; the rest came with earlier requests of the same key.",
    )


class ArchiveBody(Answer):
    """What came of an uploaded ZIP."""

    sha256: str
    size_bytes: int
    unpacked_bytes: int
    left_out: int = Field(description="Files that are no pictures of a format that is read.")
    left_out_examples: list[str]


class DatasetBody(Answer):
    """A registered folder, or an uploaded one."""

    id: str
    name: str
    path: str | None = Field(description="Below the data root; null for what was uploaded, which lies elsewhere.")
    created_at: datetime
    owner: str | None = None
    images: int | None = None
    held_out: int | None = None
    classes: int | None = None
    fingerprint: str | None = None
    archive: ArchiveBody | None = Field(None, description="Of an uploaded dataset.")


class UploadBody(Answer):
    """How far an upload has come."""

    offset: int = Field(description="Bytes that are here: send the rest with ?offset=…")
    dataset: str | None = Field(description="What it became, once it has arrived and was found right.")


class SampleBody(Answer):
    """One picture of a dataset, small."""

    path: str = Field(description="Below the dataset's folder.")
    thumbnail: str | None = Field(description="A JPEG as a data URI; null where the file cannot be read.")
