"""Bodies of requests and answers about measurements: what an encoder is worth on labelled pictures, and beside others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from api import examples
from api.fields import Labels, Text200
from api.schemas import Answer, EncoderBody
from ssl_core.spec.base import Config


class MeasureCreate(Config):
    """What a job of kind linear_probe or finetune has besides its spec."""

    name: Text200 | None = Field(None, description="For people; need not be unique.")
    labels: Labels = Field(default_factory=dict)


class Figure(Answer):
    """One figure of one encoder: of one job, or the mean over jobs with different seeds."""

    mean: float
    std: float | None = Field(None, description="Sample standard deviation over the seeds; null of one job.")
    count: int = Field(description="Jobs: the newest of each seed.")


class Compared(Answer):
    """Encoders measured on the same data in the same way. Lists have an entry for each encoder, in the order asked for."""

    kind: Literal["pretrain", "linear_probe", "finetune"] = Field(
        description="pretrain: what was measured at the end of pretraining, on pictures that were held out of it."
    )
    name: str = Field(description="For people.")
    fingerprint: str = Field(description="Of the data.")
    data: dict[str, Any] = Field(description="source, and where there is one path, of one of the jobs.")
    settings: dict[str, Any] = Field(description="The protocol, complete: everything but encoder, data and seed.")
    metrics: dict[str, list[Figure | None]] = Field(description="Accuracies in percent; null where an encoder has none.")
    jobs: list[list[str]] = Field(description="Where the figures are from.")


class Comparison(Answer):
    """Encoders side by side. What more of them have in common comes first."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.COMPARISON]})

    object: Literal["comparison"] = "comparison"
    encoders: list[EncoderBody]
    data: list[Compared]
