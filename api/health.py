"""Whether the process lives, whether it can do its work, and what it has counted."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse

from api.deps import Services, ServicesDep
from api.figures import render
from api.schemas import Ready
from jobs.access import USER
from jobs.figures import figures
from jobs.queue import broker_alive

log = logging.getLogger("api")
router = APIRouter(tags=["service"])
DISK_FREE = 256 * 2**20  # bytes below which nothing new should be begun
PATIENCE = 3.0  # seconds for each part to answer


@router.get("/livez", response_class=PlainTextResponse, summary="Does the process answer?")
async def livez() -> PlainTextResponse:
    """`ok`, touching nothing else."""
    return PlainTextResponse("ok\n")


@router.get("/readyz", response_model=Ready, summary="Can the service do its work?")
async def readyz(response: Response, services: ServicesDep) -> Ready:
    """503 if the database or the disk fails. Without the broker it is `degraded`: jobs are accepted and wait."""
    names = ("database", "broker", "disk")
    checks: tuple[Callable[[], object], ...] = (services.repository.ping, broker_alive, lambda: _disk(services))
    answers = await asyncio.gather(*(_answers(name, check) for name, check in zip(names, checks, strict=True)))
    ok = dict(zip(names, answers, strict=True))
    failed = not (ok["database"] and ok["disk"]) or services.draining.is_set()
    response.status_code = 503 if failed else 200
    if failed:
        response.headers["Retry-After"] = "5"
    status = "failed" if failed else "ok" if ok["broker"] else "degraded"
    return Ready(status=status, components={name: "ok" if fine else "failed" for name, fine in ok.items()})


@router.get("/metrics", response_class=PlainTextResponse, summary="Counters for Prometheus")
def metrics(services: ServicesDep) -> PlainTextResponse:
    """Requests and embeddings of this process; jobs, webhooks and trackers of the whole service. In Prometheus' text format."""
    everything = services.on_behalf_of(USER)  # of all owners, whoever looks
    page = services.telemetry.render() + render(figures(everything.repository.database))
    return PlainTextResponse(page, media_type=CONTENT_TYPE_LATEST)


async def _answers(name: str, check: Callable[[], object]) -> bool:
    """Whether the check is done in time, raises nothing and is not False. Why not is for the log, not for strangers."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), PATIENCE) is not False
    except Exception as error:
        log.warning("%s is not ready: %s: %s", name, type(error).__name__, error)
        return False


def _disk(services: Services) -> bool:
    return shutil.disk_usage(services.settings.home).free >= DISK_FREE
