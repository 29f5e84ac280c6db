"""python -m worker: a worker by the settings alone."""

from __future__ import annotations

import logging
import sys
from typing import Any

from jobs import logs, tracing
from jobs.database import migrate
from jobs.errors import JobsError, Unusable
from jobs.settings import get_settings


def _say_nothing(*_: Any) -> None:
    """In the place of what Celery prints when it is told to stop: plain text among lines of JSON. The log tells it as well."""


def main() -> int:
    """Migrate, then supervise until told to stop."""
    settings = get_settings()
    logs.set_up(settings)  # again when Celery asks for it; before that it warns
    logging.captureWarnings(True)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        migrate(settings.database_url)
    except OSError as error:
        sys.exit(f"the worker does not start: {error.filename}: {error.strerror}")
    except Unusable as error:
        sys.exit(f"the worker does not start: {error}")
    except JobsError as error:
        sys.exit(f"the worker ends, to be started again: {error}")
    import celery.apps.worker

    from worker.tasks import app

    celery.apps.worker.safe_say = _say_nothing
    app.worker_main(
        [
            "--quiet",  # no banner among the lines of the log
            "worker",
            "--pool=threads",
            f"--concurrency={settings.worker_slots}",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]
    )
    tracing.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
