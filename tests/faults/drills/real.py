"""The place for drills that must train for real: the whole service, and one job that nothing ever disturbed to compare with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.composed import free_port
from support.journeys import Undisturbed, draw_pictures, spec
from support.service import Service


@dataclass(frozen=True)
class Real:
    """What a trial needs."""

    service: Service
    undisturbed: Undisturbed
    seconds: float
    """From its start to its end."""


PATIENCE = 600.0  # seconds: trainers give way to everything else, such as other drills


def brief() -> dict[str, Any]:
    """The body of POST /jobs for a job shorter than those of the journeys: a second and a half of training."""
    sections = spec(max_epochs=16, checkpoint_every_seconds=0.1)
    sections["evaluate"] = {"every_epochs": 8}
    return sections


@contextlib.contextmanager
def real(folder: Path) -> Iterator[Real]:
    """Broker, API, one worker; `python -m ssl_core` as the trainer."""
    draw_pictures(folder / "data")
    service = Service(folder, folder / "data", free_port())
    service.patience = PATIENCE
    try:
        service.start_broker()
        service.start_api()
        service.start_worker()
        job = service.client.submit(**brief())
        began = time.monotonic()
        service.until(lambda: service.job(job.id).progress.step, "the first step")
        first = time.monotonic() - began
        ended = service.succeeded(job.id)
        yield Real(
            service,
            Undisturbed(ended, service.home / "encoders" / f"{ended.encoder}.1", first),
            time.monotonic() - began,
        )
    finally:
        service.close()
