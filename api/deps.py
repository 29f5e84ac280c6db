"""What routes are given: the parts of the process, made once in `main.create_app`, and checked parameters."""

from __future__ import annotations

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Self

from fastapi import Depends, Query, Request
from fastapi import Path as PathParameter

from api.access import caller_of
from api.batcher import Batcher
from api.embedders import Embedders
from api.errors import Problem
from api.indexes import OpenIndexes
from api.keyring import Keyring
from api.limits import Rate
from api.telemetry import Telemetry
from api.web.sessions import Sessions
from jobs.access import Caller
from jobs.artifacts import Artifacts
from jobs.records import EncoderRecord
from jobs.repository import Repository
from jobs.settings import Settings
from jobs.uploads import Uploads
from jobs.wakeups import Wakeups

_ULID = r"[0-9A-HJKMNP-TV-Z]{26}"


@dataclass
class Services:
    """Everything that lives as long as the process. Routes get it on behalf of whoever asks: see `services`."""

    settings: Settings
    repository: Repository
    embedders: Embedders
    batcher: Batcher
    decoders: ThreadPoolExecutor
    telemetry: Telemetry
    indexes: OpenIndexes
    keyring: Keyring
    rate: Rate
    sessions: Sessions
    wake: Wakeups = field(default_factory=Wakeups)
    draining: threading.Event = field(default_factory=threading.Event)
    streams: Counter[str] = field(default_factory=Counter)  # open event streams by key
    uploading: Counter[str] = field(default_factory=Counter)  # uploads that arrive or are unpacked, by key
    submitting: set[str] = field(default_factory=set)  # idempotency keys whose first request is not answered yet
    lock: threading.Lock = field(default_factory=threading.Lock)  # of `submitting`

    def on_behalf_of(self, caller: Caller) -> Self:
        """The same, with a repository that shows what this caller may see."""
        return replace(self, repository=self.repository.on_behalf_of(caller))

    @property
    def caller(self) -> Caller:
        """On whose behalf this is."""
        return self.repository.caller

    def encoder_folder(self, record: EncoderRecord) -> Path:
        """Where the published files of an encoder lie."""
        return self.settings.home / record.folder

    @property
    def uploads(self) -> Uploads:
        """Where uploaded datasets lie."""
        return Uploads(self.settings.datasets)

    @property
    def artifacts(self) -> Artifacts:
        """Where the files of jobs lie."""
        return Artifacts(self.settings.home)


async def services(request: Request) -> Services:
    """The one way of a route to anything: what the caller may not see is not there."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found.on_behalf_of(caller_of(request))


ServicesDep = Annotated[Services, Depends(services)]


async def repository(services: ServicesDep) -> Repository:
    return services.repository


Repo = Annotated[Repository, Depends(repository)]
Limit = Annotated[int, Query(ge=1, le=100, description="Entries on a page.")]
Mine = Annotated[bool, Query(description="Without what others share.")]
LongLimit = Annotated[int, Query(ge=1, le=1000, description="Entries on a page.")]


def known_id(prefix: str, given: str) -> str:
    """The id, if it has the form of one. Raises 404 otherwise: there can be nothing of that name."""
    if not re.fullmatch(f"{prefix}_{_ULID}", given):
        what = {"job": "job", "enc": "encoder", "ds": "dataset", "wh": "webhook"}[prefix]
        raise Problem("not-found", f"There is no {what} {given[:100]!r}; ids look like {prefix}_01JZ8X3M6Q4T9V2B7C5D8E1F0G.")
    return given


async def _job_id(job_id: Annotated[str, PathParameter(description="The job's id, `job_…`.")]) -> str:
    return known_id("job", job_id)


async def _encoder_id(encoder_id: Annotated[str, PathParameter(description="The encoder's id, `enc_…`.")]) -> str:
    return known_id("enc", encoder_id)


async def _dataset_id(dataset_id: Annotated[str, PathParameter(description="The dataset's id, `ds_…`.")]) -> str:
    return known_id("ds", dataset_id)


JobId = Annotated[str, Depends(_job_id)]
EncoderId = Annotated[str, Depends(_encoder_id)]
DatasetId = Annotated[str, Depends(_dataset_id)]


def cursor(prefix: str, after: str | None) -> str | None:
    """The id after which a page begins. Raises 422 if it is not one."""
    if after is not None and not re.fullmatch(f"{prefix}_{_ULID}", after):
        raise Problem("validation", f"after = {after[:100]!r} is not an id of this list; send `last_id`.", parameter="after")
    return after
