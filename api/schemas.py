"""Bodies of requests and answers. What a job's sections may hold is `ssl_core.spec.TrainSpec`; `openapi.py` joins the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from api import examples
from api.fields import Labels, Text200
from ssl_core.spec.base import Config

JobStatusName = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Section = dict[str, Any]


class JobCreate(Config):
    """A pretraining job. Fields override the preset; whatever is left out suits the data and the machine."""

    model_config = ConfigDict(json_schema_extra={"examples": list(examples.JOB_CREATE.values())})

    name: Text200 | None = Field(None, description="For people; need not be unique.")
    kind: Literal["pretrain"] = "pretrain"
    preset: str | None = Field(
        None, max_length=200, description="A named recipe; the sections below override it. Default: auto, or the method's own."
    )
    labels: Labels = Field(default_factory=dict)
    data: Section | None = Field(None, description="Where the pictures come from. Required, unless the preset brings data.")
    encoder: Section | None = Field(None, description="The network.")
    method: Section | None = Field(None, description="What is learned from; `name` says which method's fields apply.")
    augment: Section | None = Field(None, description="How two views of one image are drawn.")
    optim: Section | None = Field(None, description="Optimiser and learning rate.")
    trainer: Section | None = Field(None, description="How long, with what batch, on which devices.")
    evaluate: Section | None = Field(None, description="What is measured on held-out images meanwhile.")

    @model_validator(mode="before")
    @classmethod
    def _an_object(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise PydanticCustomError("not_an_object", 'must be a JSON object such as {{"data": {{"source": "digits"}}}}', {})
        return value


Item = TypeVar("Item")


class Answer(BaseModel):
    """What the service answers with: unknown keys of a record are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class Progress(Answer):
    """How far a job is."""

    epoch: int | None = None
    step: int | None = Field(
        None,
        description="Of kind embed: images; of kind index: the same, twice over; of "
        "kind linear_probe: images, then steps of the optimiser.",
    )
    steps_total: int | None = None
    fraction: float | None = Field(None, description="0 to 1.")
    images_per_second: float | None = None
    eta_seconds: float | None = None
    images_prepared: int | None = Field(None, description="Files decoded so far, while it is preparing.")
    images_total: int | None = Field(None, description="Files to decode.")

    @model_serializer(mode="wrap")
    def _without_what_is_past(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Once it trains, nobody wants to read that files were decoded."""
        body: dict[str, Any] = plain(self)
        passing = ("images_prepared", "images_total")
        return {name: value for name, value in body.items() if value is not None or name not in passing}


class Health(Answer):
    """Whether the encoder learns, has stopped learning, or collapses; judged without labels, and with them where there are."""

    verdict: str = Field(
        "unknown",
        description="warming_up, healthy, plateaued, collapsing, collapsed or diverged; of jobs of before: unknown, learning or "
        "warning.",
    )
    reasons: list[str] = Field(default_factory=list)
    suggestions: list[str] = Field(default_factory=list, description="What to try, where something is wrong.")
    step: int | None = Field(None, description="The step at which it was judged.")


class JobError(Answer):
    """Why a job failed and what would help."""

    code: str = "unknown"
    message: str = ""
    hint: str | None = None


class JobBody(Answer):
    """A job as it is now."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB]})

    id: str
    name: str | None
    kind: str
    status: JobStatusName
    phase: str | None = Field(
        description="While it runs: preparing, training, evaluating or exporting; embedding; indexing, neighbours or saving; "
        "extracting."
    )
    requested: str | None = Field(description="cancel or pause, asked of a running job and not done yet.")
    attempt: int = Field(description="How many times a worker has taken the job up.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None
    metrics: dict[str, float | None] = Field(description="The latest value of each; accuracies in percent.")
    health: Health | None
    spec: dict[str, Any] = Field(description="Complete, with every default filled in.")
    encoder: str | None = Field(description="The encoder's id, once there is one.")
    error: JobError | None
    labels: dict[str, str]
    notes: list[str] = Field(description="What was chosen for you and why, and warnings.")
    data: dict[str, Any] | None = Field(
        description="What the trainer found: images, held_out, classes, fingerprint; unreadable files, the first 20 named."
    )
    result: dict[str, Any] | None = Field(
        description="Once it has succeeded. Of kind embed: images, errors, dim, shards, size_bytes, links; of kind index: count, "
        "left_out, dim, seconds, size_bytes, links; of kind linear_probe and finetune: protocol, settings, top1, top5 (null "
        "below six classes), per_class, confusion (rows: the class that it is; both left out above 50 "
        "classes), classes, train_images, "
        "held_out_images, split, fingerprint, seed, label_fraction, last_epoch, links."
    )
    owner: str | None = Field(None, description="Whose keys see and change it; null: everybody's.")
    shared: bool = Field(False, description="Seen by every key.")
    tracking: dict[str, Any] | None = Field(None, description="Trackers that are told of it; links.tracking tells how far.")
    links: dict[str, str]


class ListOf(Answer, Generic[Item]):
    """One page. The next one: the same request with `after` = `last_id`."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool


class Validated(Answer):
    """What POST /jobs would do; nothing was created."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.VALIDATED]})

    valid: Literal[True] = True
    spec: dict[str, Any] = Field(description="Complete, with every default filled in.")
    recipe: str | None = Field(description="The preset under it, auto where none was named; null for other kinds.")
    notes: list[str] = Field(description="What was chosen for you, and why.")
    warnings: list[str] = Field(description="What will work, but perhaps not as hoped.")
    data: dict[str, Any] = Field(description="What was found: images, held_out, classes, typical_size, fingerprint.")
    estimate: dict[str, Any] = Field(description="Memory, steps and the like, as far as they can be told beforehand.")


class MetricPoint(Answer):
    """One measured value."""

    step: int
    epoch: int | None
    name: str
    value: float | None
    at: datetime


class EventBody(Answer):
    """Something that happened to a job. `id` is the cursor for `after` and Last-Event-ID."""

    id: int
    type: str
    at: datetime
    data: dict[str, Any] = Field(default_factory=dict)


class CheckpointBody(Answer):
    """A file from which the job can be continued."""

    file: str
    attempt: int
    step: int | None
    size_bytes: int
    written_at: datetime


class EncoderBody(Answer):
    """A pretrained encoder that POST /embed can use."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ENCODER]})

    id: str
    job_id: str
    arch: str
    dim: int
    method: str
    created_at: datetime
    metrics: dict[str, float | None]
    aliases: list[str]
    sha256: str
    size_bytes: int
    owner: str | None = Field(None, description="As its job's.")
    shared: bool = False


class EncoderDetail(EncoderBody):
    """With the manifest: preprocessing, data, versions and spec."""

    manifest: dict[str, Any]
    links: dict[str, str]


class AliasPut(Config):
    """Which encoder the name stands for from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.ALIAS_PUT]})

    encoder: str = Field(max_length=200, description="An encoder id, a job id, or another alias (its encoder now).")


class AliasBody(Answer):
    """A name for an encoder."""

    name: str
    encoder: str
    updated_at: datetime | None = None
    owner: str | None = Field(None, description="Whose keys it has a meaning for; null: everybody's.")


class ProblemError(Answer):
    """One thing that is wrong: where (a JSON pointer into the body, or a parameter), and what would be right."""

    pointer: str
    parameter: str | None = None
    detail: str


class ProblemBody(Answer):
    """RFC 9457: every answer that is not a success."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.PROBLEM]})

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError]
    request_id: str


class Ready(Answer):
    """Names of the parts, and whether they answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.READY]})

    status: Literal["ok", "degraded", "failed"]
    components: dict[str, Literal["ok", "failed"]]
