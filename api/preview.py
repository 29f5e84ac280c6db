"""What the network will see, as a PNG: POST /preview before there is a job, GET /jobs/{id}/preview of one that has begun.

Drawing takes a thread, not the event loop, and there is one drawing at a time in a process: a sheet takes the memory of
its pictures, and the processors belong to training and to /embed. torch is imported by the first of them.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from api.body import json_object
from api.continuing import put_encoders
from api.deps import JobId, Services, ServicesDep
from api.errors import Problem, invalid
from api.planned import taken_out
from api.planning import path_of, plan, root_of
from api.tracking import tracked
from ssl_core.data.errors import DataError
from ssl_core.spec import TrainSpec

router = APIRouter(tags=["jobs"])
FILE = "views.png"  # of a job's attempt, written by the trainer
MOST_IMAGES = 32
PLACES = 4  # one is drawn, the others wait
RETRY_AFTER = 5  # seconds

_places = threading.BoundedSemaphore(PLACES)
_one = threading.Lock()


class Png(Response):
    """A picture; FastAPI reads its media type for the OpenAPI document."""

    media_type = "image/png"


_HEADERS = {"Content-Disposition": f'inline; filename="{FILE}"', "X-Content-Type-Options": "nosniff"}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The sheet.", "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/preview", response_class=Png, responses=_ANSWER, summary="See what the network will see")
def preview(
    services: ServicesDep,
    body: Annotated[dict[str, Any], Depends(json_object)],
    images: Annotated[int, Query(ge=1, le=MOST_IMAGES, description="Pictures, spread evenly over the training images.")] = 8,
) -> Png:
    """A contact sheet: pictures beside the very views that training would draw of them in its first epochs.

    Takes the body of POST /jobs, finds the same faults in it, and creates nothing. Only the pictures shown are read.
    """
    if services.draining.is_set():
        raise Problem("unavailable", "The service is stopping.", headers={"Retry-After": "5"})
    plain = tracked(taken_out(body)[0], services.settings)[0]
    made = plan(plain, services.settings.data_root, path_of(services), partial(put_encoders, services))
    if not _places.acquire(blocking=False):
        detail = f"{PLACES} previews are being drawn or wait already; try again in {RETRY_AFTER} s."
        raise Problem("busy", detail, headers={"Retry-After": str(RETRY_AFTER)})
    try:
        with _one:
            return Png(_drawn(made.spec, services, images), headers=_HEADERS)
    except DataError as error:  # what only shows when the pictures are opened
        raise invalid([(error.pointer, str(error))]) from None
    finally:
        _places.release()


@router.get("/jobs/{job_id}/preview", response_class=Png, responses=_ANSWER, summary="See what the network saw")
def job_preview(job_id: JobId, services: ServicesDep) -> Png:
    """The contact sheet that the newest attempt wrote when it had read its images. 404 before that."""
    record = services.repository.get(job_id)
    for attempt in range(record.attempt, 0, -1):
        file = services.artifacts.attempt_folder(job_id, attempt) / FILE
        if file.is_file():
            return Png(file.read_bytes(), headers=_HEADERS)
    detail = f"{job_id} has no sheet: one is written when training begins. POST /preview with the job's spec draws one now."
    raise Problem("not-found", detail)


def _drawn(spec: TrainSpec, services: Services, images: int) -> bytes:
    from ssl_core.preview import contact_sheet

    root = root_of(spec.data, path_of(services), services.settings.data_root)
    return contact_sheet(spec, root, images)
