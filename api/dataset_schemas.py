"""Bodies of the routes below /datasets."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from api import examples
from api.schemas import Answer, Text200
from ssl_core.spec.base import Config


class DatasetCreate(Config):
    """A folder below the data root, under an id."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET_CREATE]})

    name: Text200
    path: str = Field(max_length=1000, description="Folder below the data root.")


class DatasetBody(Answer):
    """A registered folder."""

    id: str
    name: str
    path: str
    created_at: datetime
    owner: str | None = None
    images: int | None = None
    held_out: int | None = None
    classes: int | None = None
    fingerprint: str | None = None


class SampleBody(Answer):
    """One picture of a dataset, small."""

    path: str = Field(description="Below the dataset's folder.")
    thumbnail: str | None = Field(description="A JPEG as a data URI; null where the file cannot be read.")
