"""The one Celery task, and what a worker starts and stops with.

    celery -A worker.tasks worker -P threads -c 1 --without-gossip --without-mingle      or      python -m worker

Threads, because a task only supervises: the SIGTERM handler then shares a process with the trainers' handles.
"""

from __future__ import annotations

import logging
import sys
import threading
from functools import lru_cache
from typing import Any

from celery.signals import setup_logging, worker_init, worker_ready, worker_shutting_down

from jobs import logs, tracing
from jobs.database import connect, migrate
from jobs.errors import JobsError
from jobs.queue import TASK, celery_app, enqueue
from jobs.repository import Repository
from jobs.settings import get_settings
from jobs.webhooks import Webhooks
from worker.courier import Courier
from worker.rounds import Rounds
from worker.supervisor import Supervisor
from worker.sweeper import Sweeper
from worker.telemetry import Telemetry
from worker.trackers import Trackers

app = celery_app()
shutdown = threading.Event()
log = logging.getLogger("worker")


@lru_cache
def repository() -> Repository:
    """This process's way to the database."""
    return Repository(connect(get_settings().database_url))


@lru_cache
def telemetry() -> Telemetry:
    """What this process counts."""
    return Telemetry()


@lru_cache
def sweeper() -> Sweeper:
    """This process's sweeper."""
    return Sweeper(repository(), get_settings(), enqueue, telemetry())


@lru_cache
def couriers() -> tuple[Rounds[Any], ...]:
    """What this process sends out: messages to webhooks, values to trackers."""
    courier = Courier(Webhooks(repository().database), get_settings(), telemetry())
    return courier.rounds(), Trackers(repository(), get_settings(), telemetry()).rounds()


@app.task(name=TASK)
def supervise(job_id: str) -> None:
    """Claim the job and see it through. Running it twice does nothing the second time."""
    with logs.bound(job=job_id):
        Supervisor(repository(), get_settings(), shutdown, enqueue, telemetry()).run(job_id)


@setup_logging.connect
def _logging(**_: Any) -> None:
    logs.set_up(get_settings())


@worker_init.connect
def _only_threads(sender: Any, **_: Any) -> None:
    if "thread" not in str(sender.pool_cls):
        sys.exit("start the worker with -P threads: only there can SIGTERM hand the trainers' jobs back")


@worker_ready.connect
def _ready(**_: Any) -> None:
    try:
        migrate(get_settings().database_url)
    except JobsError as error:  # Celery would log it and go on, without a sweeper
        sys.exit(f"the worker ends, to be started again: {error}")
    tracing.start("imprint-worker", get_settings().otel_endpoint)
    telemetry().serve(get_settings().worker_metrics, get_settings().worker_slots)
    sweeper().start()
    for each in couriers():
        each.start()
    log.info("ready: %d slot(s), home %s", get_settings().worker_slots, get_settings().home)


@worker_shutting_down.connect
def _shutting_down(**_: Any) -> None:
    """Trainers checkpoint and end; their jobs are queued again with their progress kept."""
    shutdown.set()
    sweeper().stop()
    for each in couriers():
        each.stop()
