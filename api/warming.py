"""Between requests: the newest encoder is in memory before anybody asks for it, and those that nobody asks for leave."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from typing import TypeVar

from api.deps import Services
from api.embedding import load
from api.errors import Problem
from jobs.errors import JobsError

log = logging.getLogger("api")
T = TypeVar("T")
AFTER = 1.0  # seconds: importing takes the interpreter's attention, so the first probes are answered before
EVERY = 5.0  # seconds between two looks for a newly published encoder


async def keep_warm(services: Services) -> None:
    """Load an encoder when it is published, once; drop idle ones. What fails here will be told to the request that needs it."""
    await asyncio.sleep(AFTER)
    await _calmly(services.embedders.warm())
    seen = None
    while True:
        newest = await _calmly(asyncio.to_thread(services.repository.newest_encoder))
        if newest is not None and newest != seen:
            seen = newest
            await _calmly(load(services, newest))
        services.embedders.drop_idle()
        await asyncio.sleep(EVERY)


async def _calmly(work: Awaitable[T]) -> T | None:
    """The result, or None for what goes wrong."""
    try:
        with contextlib.suppress(Problem, JobsError):
            return await work
    except Exception:
        log.warning("warming up failed", exc_info=True)
    return None
