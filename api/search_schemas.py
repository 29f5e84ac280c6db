"""What /encoders/{id}/index, /search and /report take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api import examples
from api.fields import Labels, Text200
from api.schemas import Answer, JobBody
from ssl_core.spec.base import Config

MOST_RESULTS = 1000
MOST_THUMBNAILS = 100


class IndexCreate(Config):
    """What to index."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INDEX_CREATE]})

    vectors: str = Field(max_length=200, description="The id of an embed job of this encoder that has succeeded.")


class IndexJobCreate(IndexCreate):
    """An index over the vectors of an embed job, for POST /encoders/{id}/search."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INDEX_JOB]})

    name: Text200 | None = Field(None, description="For people; need not be unique.")
    kind: Literal["index"] = "index"
    labels: Labels = Field(default_factory=dict)
    encoder: str | None = Field(None, max_length=200, description="The encoder's id; default: the one that made the vectors.")


class SearchOptions(Config):
    """Everything of a search but what is searched for: JSON fields, form fields, or query parameters."""

    k: int = Field(10, ge=1, le=MOST_RESULTS, description="How many pictures at most.")
    thumbnails: bool = Field(False, description="With a small JPEG of each of the first 100 pictures that still is in its place.")


class SearchRequest(SearchOptions):
    """The JSON form: either `image` or `vector`."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.SEARCH]})

    image: str | None = Field(None, description="Base64 or a data URI (`data:image/png;base64,…`).")
    vector: Annotated[list[float], Field(fail_fast=True, max_length=65_536)] | str | None = Field(
        None, description="As /embed gives it: numbers, or base64 of little-endian float32."
    )


class Indexed(Answer):
    """What the index that is searched holds."""

    vectors: str = Field(description="The job that made the vectors.")
    data: dict[str, Any] = Field(description="The pictures, as that job's spec names them.")
    count: int
    left_out: int = Field(description="Pictures without a vector.")
    dim: int
    dimensions: int | None = None
    dtype: str
    library: str
    size_bytes: int
    created_at: datetime
    seconds: float = Field(description="What building it took.")


class IndexBody(Answer):
    """An encoder's index. While another is built, the one before is searched."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.INDEX]})

    object: Literal["index"] = "index"
    encoder: str
    status: Literal["building", "ready", "failed"] = Field(description="failed: of the newest job, or the files are damaged.")
    index: Indexed | None = Field(description="What is searched now; null before the first build has ended.")
    job: JobBody | None = Field(description="The newest job of kind index of this encoder.")


class Neighbour(Answer):
    """One picture that was found."""

    path: str = Field(description="Relative to the folder that was embedded.")
    score: float = Field(description="The cosine, -1 to 1.")
    thumbnail: str | None = Field(None, description="A data URI; null if not asked for, or if the picture is gone.")


class SearchBody(Answer):
    """The nearest pictures, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.FOUND]})

    object: Literal["list"] = "list"
    encoder: str
    index: Indexed
    data: list[Neighbour]


class Member(Answer):
    """A picture of a group; `score`: its cosine to the nearest other picture."""

    path: str
    score: float


class GroupBody(Answer):
    """Near-duplicates of each other. lowest, highest: cosines of the pairs that hold the group together."""

    size: int
    lowest: float
    highest: float
    data: list[Member] = Field(description="The first 100 of them.")


class Groups(Answer):
    """Groups of near-duplicates, the largest first."""

    threshold: float
    count: int = Field(description="Groups in all.")
    extra: int = Field(description="Pictures beyond the first of each group.")
    data: list[GroupBody]
    has_more: bool


class Outlier(Answer):
    """A picture that stands apart; `distance`: the mean of 1 - cosine to its nearest others."""

    path: str
    distance: float


class Outliers(Answer):
    """Pictures, the most distant first."""

    count: int
    data: list[Outlier]
    has_more: bool


class ReportBody(Answer):
    """Near-duplicates and outliers of what an index holds."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.REPORT]})

    object: Literal["report"] = "report"
    encoder: str
    index: Indexed
    duplicates: Groups
    outliers: Outliers
