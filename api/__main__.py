"""`python -m api [--insecure]`: the API on the address of the settings."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.main import create_app
from api.protocol import bounded
from jobs import logs
from jobs.database import migrate
from jobs.errors import JobsError
from jobs.keys import any_stored
from jobs.settings import Settings, get_settings
from ssl_core.data.machine import few_arenas, share_processors

GRACE_SECONDS = 20  # for requests in flight when asked to stop


class Server(uvicorn.Server):
    """Tells the application at the first signal: event streams end, /embed and /readyz say that the service is stopping."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        settle()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        services = getattr(self.app.state, "services", None)
        if services is not None:
            services.draining.set()
        super().handle_exit(sig, frame)


def settle() -> None:
    """What is there at the start stays. The collector of garbage would stop every request for a tenth of a second to look at all
    of it, time and again: it looks at what requests leave behind, and less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def refusal(settings: Settings) -> str | None:
    """Why the service must not listen there, or None. Other machines may only reach it with an API key."""
    if not settings.exposed or any_stored(settings.database_url):
        return None
    return (
        f"Refusing to listen on {settings.host} without API keys: everybody on the network could run jobs here.\n"
        "Make a key with `imprint keys create NAME`, or set IMPRINT_API_KEYS=<long random text> (comma separated for several); "
        "or say --insecure (IMPRINT_INSECURE=1) if everybody may, or a proxy guards it."
    )


def main() -> int:
    share_processors()
    few_arenas()  # decoders and requests come and go in dozens of threads
    if "--insecure" in sys.argv[1:]:
        os.environ["IMPRINT_INSECURE"] = "1"
    settings = get_settings()
    logs.set_up(settings)
    logging.captureWarnings(True)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        migrate(settings.database_url)
        why = refusal(settings)
    except JobsError as error:
        why = f"The API does not start: {error}"
    except OSError as error:
        why = f"The API does not start: {error.filename}: {error.strerror}"
    if why is not None:
        print(why, file=sys.stderr)
        return 2
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded(settings.head_seconds),
        access_log=False,
        log_config=None,  # uvicorn's lines go the way of ours
        timeout_graceful_shutdown=GRACE_SECONDS,
        server_header=False,
    )
    try:
        Server(config, app).run()
    except KeyboardInterrupt:  # uvicorn raises the signal again after a clean stop
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
