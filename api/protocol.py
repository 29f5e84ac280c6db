"""Uvicorn's HTTP protocol with bounds on what it leaves open: how long the head of a request may take, and how large it may be.

The body's bounds are in middleware.py; a body that nobody will read any more (its request has been answered) may drip in for as
long as a head may.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import KINDS

HEAD_LIMIT = 64 * 2**10  # bytes of a request's line and headers


class Bounded(HttpToolsProtocol):
    """`head_seconds` from the connection's beginning, or from the first byte of a later request, to the end of its head."""

    head_seconds: float = 20.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0  # of the lines that are whole
        self._in_head, self._unread = True, 0  # bytes of the head so far: the parser shows no line before its end
        self._heads = 0  # that have ended
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._patience is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()
        began_in_head, heads = self._in_head, self._heads
        super().data_received(data)
        if began_in_head and heads == self._heads:  # all of it was head, and the end is not there yet
            self._unread += len(data)
            if self._unread > HEAD_LIMIT and not self.transport.is_closing():
                self._refuse()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._calm()
        self._in_head, self._unread = False, 0
        self._heads += 1
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_LIMIT:
            raise HttpParserError("the head is too large")

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > HEAD_LIMIT:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _refuse(self) -> None:
        status, title = KINDS["head-too-large"]
        detail = f"The line and the headers of a request may have {HEAD_LIMIT // 1024} KiB together."
        body = orjson.dumps(
            {"type": "/docs#head-too-large", "title": title, "status": status, "detail": detail, "errors": [], "request_id": ""}
        )
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _wait(self) -> None:
        self._patience = self.loop.call_later(self.head_seconds, self._give_up)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if not self.transport.is_closing():
            self.transport.close()


def bounded(head_seconds: float) -> type[Bounded]:
    """The protocol with a patience of its own, for uvicorn.Config(http=…)."""
    return type("Bounded", (Bounded,), {"head_seconds": head_seconds})
