"""The disk of the home is full while a job trains, with the database on it or elsewhere; later there is room again."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pysqlite3 import dbapi2

from faults.drill import Drill, Impossible
from faults.drills.real import PATIENCE, brief
from support.composed import free_port
from support.journeys import draw_pictures
from support.service import Service

SIZE = "64m"


@dataclass
class Small:
    """A service whose home is a disk of its own."""

    service: Service
    database: Path
    beside: bool
    """Whether the database lies elsewhere."""

    @property
    def filler(self) -> Path:
        return self.service.home / "filler"

    def fill(self) -> None:
        with self.filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (2**20, 2**12, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\1" * size)


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """A tmpfs. Raises Impossible."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "faults", folder], capture_output=True, text=True)
    if done.returncode != 0:
        raise Impossible(f"a small disk cannot be mounted: {done.stderr.strip()[:80]}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextlib.contextmanager
def small_disks(folder: Path) -> Iterator[list[Small]]:
    with contextlib.ExitStack() as stack:
        places = []
        for beside in (False, True):
            here = folder / ("beside" if beside else "on it")
            draw_pictures(here / "data")
            service = Service(here, here / "data", free_port())
            service.patience = PATIENCE
            stack.enter_context(mounted(service.home))
            database = here / "imprint.db" if beside else service.home / "imprint.db"
            service.env |= {"IMPRINT_DATABASE_URL": f"sqlite:///{database}", "IMPRINT_LEASE_SECONDS": "3"}
            service.api.env.update(service.env)
            stack.callback(service.close)
            service.start_broker()
            service.start_api()
            service.start_worker(heartbeat_seconds=0.5)
            places.append(Small(service, database, beside))
        yield places


def trial(places: list[Small], dice: random.Random, number: int) -> None:
    place = places[number % 2]
    service = place.service
    job_id = service.client.submit(**brief()).id
    service.past_checkpoint(job_id, 1)
    place.fill()
    with (service.home / "probe").open("wb", buffering=0) as probe:
        try:
            probe.write(b"0" * 2**16)
            full = False
        except OSError as error:
            full = error.errno == errno.ENOSPC
    os.unlink(service.home / "probe")
    place.fill()
    assert full
    if place.beside:
        service.ended(job_id)
    else:  # what the database has left in its own files may last for a job's failure, or not
        time.sleep(5)
        service.until(lambda: not service.trainers(job_id), "nobody trains into a full disk")
        answer = service.http.post("/jobs", json=brief())
        assert answer.status_code in (202, 503), answer.text
    place.filler.unlink()
    job = service.ended(job_id)  # of what it had tried while the disk was full, or well
    if job.status == "failed":
        assert job.error is not None and "no space" in job.error.message.lower(), job.error
        service.client.resume(job_id)
    assert service.succeeded(job_id).encoder is not None
    with contextlib.closing(dbapi2.connect(str(place.database))) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    service.rest()
    for kept in (*(service.home / "jobs").iterdir(), *(service.home / "encoders").iterdir()):
        shutil.rmtree(kept)  # the disk is small, and full of checkpoints after some trials


DRILL = Drill(
    "disk_full",
    "disk of the home full while a job trains; database on it, or elsewhere",
    "a clear error; the database is intact; the job goes on when there is room",
    small_disks,
    trial,
)
