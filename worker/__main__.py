"""python -m worker: a worker by the settings alone."""

from __future__ import annotations

import sys

from jobs import tracing
from jobs.database import migrate
from jobs.errors import JobsError
from jobs.settings import get_settings


def main() -> int:
    """Migrate, then supervise until told to stop."""
    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    try:
        migrate(settings.database_url)
    except JobsError as error:
        sys.exit(f"the worker ends, to be started again: {error}")
    from worker.tasks import app

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
