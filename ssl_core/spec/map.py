"""MapSpec: everything that defines one job of kind map, validated without importing torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ssl_core.spec.base import Config


class MapSpec(Config):
    """A map in two dimensions of the vectors of an embed job, complete."""

    kind: Literal["map"] = "map"
    encoder: str = Field(min_length=1, max_length=200, description="The encoder's id.")
    vectors: str = Field(min_length=1, max_length=200, description="The embed job that made the vectors.")
    data: dict[str, Any] = Field(default_factory=dict, description="The pictures, as that job's spec names them.")
    neighbours: int = Field(
        15, ge=2, le=100, description="Pictures that each is placed near to. Few show small groups, many the large shape."
    )
    min_dist: float = Field(0.1, ge=0.0, le=0.99, description="How close two pictures may lie: 0 packs groups tight.")
    min_cluster: int | None = Field(
        None, ge=2, le=1_000_000, description="Fewest pictures of a cluster; null: one in a hundred, at least 5."
    )
    landmarks: int = Field(
        100_000, ge=100, le=150_000, description="Most pictures that the map is fitted to; others are placed among these."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="The same seed on the same machine gives the same map.")
