"""The application: `uvicorn api.main:create_app --factory`, or `python -m api`. Importing it imports no torch."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Depends, FastAPI, Request
from starlette.responses import HTMLResponse, JSONResponse

from api import (
    bulk,
    datasets,
    embed,
    encoders,
    errors,
    exporting,
    health,
    importing,
    job_parts,
    jobs,
    mapping,
    measuring,
    openai,
    openapi,
    preview,
    samples,
    search,
    sharing,
    tracking,
    webhooks,
)
from api.access import allowed
from api.batcher import Batcher
from api.deadline import Deadline
from api.deps import Services
from api.embedders import Embedders
from api.headers import SafeHeaders
from api.indexes import OpenIndexes
from api.keyring import Keyring
from api.limits import Rate
from api.middleware import Gate
from api.telemetry import Telemetry
from api.told import Told
from api.warming import keep_warm
from api.web import assets, login, pages, reference
from api.web.sessions import Sessions
from jobs import tracing
from jobs.database import connect, migrate
from jobs.keys import Keys
from jobs.repository import Repository
from jobs.settings import Settings, get_settings

log = logging.getLogger("api")
ABOUT = "Point it at your unlabelled pictures, get an encoder, get its embeddings over HTTP."


def create_app(settings: Settings | None = None, *, warm: bool = True) -> FastAPI:
    """The whole API. `warm`: load the newest encoder in the background, soon after the start and when one is published."""
    chosen = settings or get_settings()
    telemetry = Telemetry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tracing.start("imprint-api", chosen.otel_endpoint)
        services = await _start(chosen, telemetry)
        app.state.services = services
        warming = asyncio.create_task(keep_warm(services), name="warm") if warm else None
        try:
            yield
        finally:
            services.draining.set()
            if warming is not None:
                warming.cancel()
                await asyncio.gather(warming, return_exceptions=True)
            await services.keyring.close()
            await asyncio.to_thread(services.wake.close)
            await services.batcher.close()
            services.embedders.close()
            services.decoders.shutdown(wait=True, cancel_futures=True)
            await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="Imprint",
        version=_version(),
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        dependencies=[Depends(allowed)],  # of every route, those to come too
    )
    errors.install(app)
    app.add_middleware(Deadline, seconds=chosen.request_seconds)  # innermost
    app.add_middleware(Told)
    app.add_middleware(Gate, settings=chosen, telemetry=telemetry)
    app.add_middleware(SafeHeaders)
    rooms = (jobs, sharing, job_parts, bulk, measuring, preview, encoders, search, datasets, embed, openai, health)
    for room in (*rooms, webhooks, tracking, exporting, importing, samples, mapping, assets, login, pages):
        app.include_router(room.router)

    @app.get("/docs", include_in_schema=False)
    def docs(request: Request) -> HTMLResponse:
        return reference.page(request, openapi.document(app))

    @app.get("/openapi.json", include_in_schema=False)
    def openapi_json() -> JSONResponse:
        return JSONResponse(openapi.document(app))

    def document() -> dict[str, Any]:
        return openapi.document(app)

    app.openapi = document  # type: ignore[method-assign]
    return app


async def _start(settings: Settings, telemetry: Telemetry) -> Services:
    settings.home.mkdir(parents=True, exist_ok=True)
    settings.data_root.mkdir(parents=True, exist_ok=True)
    await asyncio.to_thread(migrate, settings.database_url)
    database = connect(settings.database_url)
    keyring = Keyring(settings.api_keys, Keys(database))
    return Services(
        settings=settings,
        repository=Repository(database),
        embedders=Embedders(telemetry, max_bytes=settings.embed_memory, idle_seconds=settings.embed_idle_seconds),
        batcher=Batcher(telemetry, max_pending=settings.embed_max_pending),
        decoders=ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2)), thread_name_prefix="decode"),
        telemetry=telemetry,
        indexes=OpenIndexes(settings.home),
        keyring=keyring,
        rate=Rate(settings.rate_per_second, settings.rate_burst),
        sessions=Sessions(settings.home, keyring),
    )


def _version() -> str:
    try:
        return version("imprint")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
