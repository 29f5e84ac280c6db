"""The one Celery app, and the wake-up call. The message carries a job id; losing or doubling it changes nothing.

The settings follow docs/decisions/0006-sql-is-the-truth.md: no acknowledgement, nothing prefetched, no results.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError as BrokerError

from jobs.settings import get_settings

log = logging.getLogger("jobs")

TASK = "imprint.supervise"
QUEUE = "imprint"
_PATIENCE = 2.0  # seconds to send a wake-up or to see whether the broker answers


@lru_cache
def celery_app() -> Celery:
    """This process's Celery app, configured from the settings."""
    app = Celery("imprint", broker=get_settings().redis_url)
    app.conf.update(
        task_default_queue=QUEUE,
        # Taken is done with. An acknowledgement that a stopped broker does not hear would count as work under way for ever, and
        # its worker would never take another message; what is lost instead, a sweep finds.
        task_queues=[Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE, no_ack=True)],  # type: ignore[no-untyped-call]
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        worker_pool="threads",  # also where the command line says nothing, or prefork
        worker_concurrency=get_settings().worker_slots,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "health_check_interval": 25,
        },
    )
    return app


def enqueue(job_id: str) -> bool:
    """Send the wake-up; False, within two seconds or so, when the broker does not take it (a sweeper sends it later)."""
    if not broker_alive():
        log.warning("%s: the broker does not answer; a worker's sweep will find the job", job_id)
        return False
    try:
        with connection() as opened:
            send(job_id, opened)
    except (BrokerError, OSError) as error:
        log.warning("%s: no wake-up sent: %s", job_id, error)
        return False
    return True


def connection() -> Any:
    """A new connection to send wake-ups by. Connects when it is first used."""
    return celery_app().connection_for_write(connect_timeout=_PATIENCE)


def send(job_id: str, opened: Any) -> None:
    """Send the wake-up by an open connection. Raises OSError or BrokerError."""
    producer = celery_app().amqp.Producer(opened.default_channel, auto_declare=False)
    celery_app().send_task(TASK, args=[job_id], queue=QUEUE, retry=False, producer=producer, ignore_result=True)


def pending() -> int:
    """How many wake-ups wait in the broker. Raises OSError or BrokerError when it does not answer."""
    with celery_app().connection_for_read(connect_timeout=_PATIENCE) as connection:
        return int(connection.default_channel._size(QUEUE))


def broker_alive() -> bool:
    """Whether something listens where the broker should: a connection, which fails at once where there is none."""
    url = urlsplit(get_settings().redis_url)
    try:
        if url.scheme.endswith("+socket") or url.scheme == "unix":
            family, address = socket.AF_UNIX, unquote(url.path) if url.path else unquote(url.netloc)
            with socket.socket(family, socket.SOCK_STREAM) as unix:
                unix.settimeout(_PATIENCE)
                unix.connect(address)
                return _pings(unix)
        with socket.create_connection((url.hostname or "localhost", url.port or 6379), _PATIENCE) as tcp:
            return url.scheme == "rediss" or _pings(tcp)
    except OSError:
        return False


def _pings(connection: socket.socket) -> bool:
    """Any answer to PING will do, a demand for the password too: a stopped broker accepts but never answers."""
    connection.settimeout(_PATIENCE)
    with contextlib.suppress(OSError):
        connection.sendall(b"PING\r\n")
        return connection.recv(16)[:1] in (b"+", b"-")
    return False
