"""Who sees a job and what it has made: `shared`, in the body of POST /jobs whatever its kind, and in PATCH /jobs/{id}."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from api import examples
from api.body import json_object, validated
from api.deps import JobId, Repo
from api.jobs import job_body
from api.planned import SHARED
from api.schemas import JobBody
from ssl_core.spec.base import Config

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobPatch(Config):
    """What of a job can be changed at any time."""

    model_config = ConfigDict(json_schema_extra={"examples": [examples.JOB_PATCH]})

    shared: bool = Field(description=SHARED)


@router.patch("/{job_id}", response_model=JobBody, summary="Share a job")
def share(job_id: JobId, repository: Repo, body: Annotated[dict[str, Any], Depends(json_object)]) -> JobBody:
    """Let every key see the job, and use the encoder that it makes; or its owner's keys only."""
    return job_body(repository.share(job_id, validated(JobPatch, body).shared))
