"""Bodies of jobs of kind map, and of what they leave behind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from api import examples
from api.fields import Labels, Text200
from api.schemas import Answer
from ssl_core.spec.base import Config
from ssl_core.spec.map import MapSpec

MOST_ROWS = 1_000_000  # of an export
_FIELDS = MapSpec.model_fields


def _said(name: str) -> str:
    return f"{_FIELDS[name].description}"


class MapCreate(Config):
    """A map in two dimensions of the vectors of an embed job: places, clusters, outliers, nearest others."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP_CREATE]})

    name: Text200 | None = Field(None, description="For people; need not be unique.")
    kind: Literal["map"]
    labels: Labels = Field(default_factory=dict)
    vectors: str = Field(max_length=200, description="The id of an embed job that has succeeded.")
    neighbours: int = Field(15, ge=2, le=100, description=_said("neighbours"))
    min_dist: float = Field(0.1, ge=0.0, le=0.99, description=_said("min_dist"))
    min_cluster: int | None = Field(None, ge=2, le=1_000_000, description=_said("min_cluster"))
    landmarks: int = Field(100_000, ge=100, le=150_000, description=_said("landmarks"))
    seed: int = Field(0, ge=0, le=2**32 - 1, description=_said("seed"))


class MapFolder(Answer):
    """A folder, and how many of its pictures are on the map."""

    folder: str = Field(description="Relative to the folder that was embedded; empty at the top.")
    count: int


class MapBody(Answer):
    """What a job of kind map has made."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP]})

    object: Literal["map"] = "map"
    job: str
    encoder: str
    vectors: str = Field(description="The job that made the vectors.")
    data: dict[str, Any] = Field(description="The pictures, as that job's spec names them.")
    count: int = Field(description="Pictures on the map.")
    left_out: int = Field(description="Pictures without a vector.")
    dim: int
    landmarks: int = Field(description="Pictures that were fitted; others are placed among these.")
    clusters: int
    unclustered: int = Field(description="Pictures in no cluster.")
    seconds: float
    size_bytes: int
    folders: list[MapFolder] = Field(description="The first 1,000, the largest first.")
    folders_count: int
    links: dict[str, str]


class MapPoint(Answer):
    """One picture on the map."""

    row: int = Field(description="Its number: the same in every form of the map.")
    path: str
    folder: str
    x: float
    y: float
    cluster: int = Field(description="0 is the largest; -1: none.")
    outlier: float = Field(description="The mean of 1 - cosine to its ten nearest others.")


class MapPoints(Answer):
    """A page of pictures."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP_POINTS]})

    object: Literal["list"] = "list"
    count: int = Field(description="How many pictures the request is about, on all pages.")
    data: list[MapPoint]
    has_more: bool


class MapNear(Answer):
    """A picture near to another; `score`: the cosine of their vectors."""

    row: int
    path: str
    score: float


class MapPicture(MapPoint):
    """One picture with its nearest others, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP_PICTURE]})

    nearest: list[MapNear]


class MapGroup(Answer):
    """Near-duplicates of each other. lowest, highest: cosines of the pairs that hold the group together."""

    size: int
    lowest: float
    highest: float
    data: list[MapPoint] = Field(description="The first 100 of them.")


class MapGroups(Answer):
    """Groups of near-duplicates, the largest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP_GROUPS]})

    object: Literal["list"] = "list"
    threshold: float
    count: int = Field(description="Groups in all.")
    extra: int = Field(description="Pictures beyond the first of each group.")
    data: list[MapGroup]
    has_more: bool


class MapExport(Config):
    """Which pictures to write to a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.MAP_EXPORT]})

    rows: Annotated[list[Annotated[int, Field(ge=0)]], Field(fail_fast=True, min_length=1, max_length=MOST_ROWS)] = Field(
        description="Their numbers; the file has them in this order."
    )
    format: Literal["csv", "parquet"] = "csv"
    name: Text200 | None = Field(None, description="Of the selection: a column of the file, and the file's name.")
