"""Trackers of a job: `tracking`, in the body of POST /jobs whatever its kind, and how far each tracker is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field, StrictBool, ValidationError

from api import examples
from api.deps import JobId, Repo
from api.errors import invalid
from api.fields import Text200
from api.schemas import Answer, ListOf
from api.webhook_schemas import sendable
from jobs.settings import Settings
from jobs.trackings import Trackings
from ssl_core.spec.base import Config, explain

router = APIRouter(prefix="/jobs/{job_id}/tracking", tags=["jobs"])
ABOUT = "Trackers that are told of the job: spec, metrics, verdict, encoder. What they cannot be told slows nothing."


class MLflowTracking(Config):
    """A run in MLflow, one for the whole job."""

    uri: str | None = Field(None, description="The server, https://…; a public address. Default: that of the service.")
    experiment: Text200 | None = Field(None, description="Made if there is none. Default: imprint.")


class Tracking(Config):
    """Which trackers are told of a job, as it runs."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRACKING]})

    tensorboard: StrictBool = Field(False, description="Event files in tensorboard/<job> below the service's home.")
    mlflow: Annotated[
        StrictBool | MLflowTracking, Field(description="true: the service's own server, where it has one; or which server.")
    ] = False


class TrackerBody(Answer):
    """How far a tracker is."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.TRACKER]})

    tracker: Literal["tensorboard", "mlflow"]
    run: str | None = Field(description="What the tracker calls the job.")
    link: str | None = Field(description="Where a person sees it.")
    told_at: datetime | None = Field(description="When it last knew everything.")
    settled: bool = Field(description="The job rests, and the tracker knows all of it.")
    error: str | None = Field(description="Why it cannot be told at present; it is tried again.")


def tracked(body: dict[str, Any], settings: Settings) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """A body of POST /jobs without its `tracking`, and that as {tracker: its settings}. Raises Problem 422."""
    given = body.get("tracking")
    rest = {name: value for name, value in body.items() if name != "tracking"}
    if given is None:
        return rest, None
    try:
        asked = Tracking.model_validate(given)
    except ValidationError as error:
        found = [explain(each, frozenset({"bool", "MLflowTracking"})) for each in error.errors(include_url=False)]
        raise invalid([(f"/tracking{pointer}", detail) for pointer, detail in found]) from None
    trackers: dict[str, Any] = {"tensorboard": {}} if asked.tensorboard else {}
    if asked.mlflow:
        chosen = MLflowTracking() if asked.mlflow is True else asked.mlflow
        _checked(chosen, settings)
        trackers["mlflow"] = chosen.model_dump(exclude_none=True)
    return rest, trackers or None


@router.get("", response_model=ListOf[TrackerBody], summary="How far its trackers are")
def trackers(job_id: JobId, repository: Repo) -> ListOf[TrackerBody]:
    """One entry for each tracker that the job named."""
    repository.get(job_id)
    found = Trackings(repository.database).of(job_id)
    return ListOf(data=[TrackerBody.model_validate(each, from_attributes=True) for each in found], has_more=False)


def _checked(chosen: MLflowTracking, settings: Settings) -> None:
    if chosen.uri is None and not settings.mlflow_uri:
        detail = 'the service has no MLflow server of its own (IMPRINT_MLFLOW_URI); name one: {"uri": "https://…"}'
        raise invalid([("/tracking/mlflow", detail)])
    if chosen.uri is not None and chosen.uri != settings.mlflow_uri:
        reason = sendable(chosen.uri, settings.outbound_private)
        if reason is not None:
            raise invalid([("/tracking/mlflow/uri", reason)])
