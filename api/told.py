"""What the log says of requests: whose every line is, and a line for each that may have changed something.

Plain ASGI within the gate (middleware.py), which has found out who asks.
"""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import scope_of
from jobs import logs
from jobs.access import SUBMIT

log = logging.getLogger("api")


class Told:
    """Lines of a request bear its id. Questions are counted only (/metrics): a log of them would be as long as the day."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_and_tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                _tell(scope, message["status"], time.perf_counter() - started)
            await send(message)

        with logs.bound(request=scope["state"]["request_id"]):
            await self.app(scope, receive, send_and_tell)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    """By the route, not the address: what strangers write stays out of the log."""
    method, route = scope["method"], str(getattr(scope.get("route"), "path", "") or "unmatched")
    if status >= 500 or (route != "unmatched" and scope_of(method, route) == SUBMIT):
        about = {"status": status, "ms": round(1000 * seconds, 1), "by": scope["state"]["caller"].name}
        log.info("%s %s", method, route, extra={"about": about})
