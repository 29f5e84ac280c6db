"""What happens to every request before a route sees it: an id, the API key, the size of the body; and how long it took.

Plain ASGI, so that bodies and answers stream through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, respond
from api.telemetry import Telemetry

MIB = 2**20
JSON_LIMIT = 1 * MIB  # bytes of any body without pictures
EMBED_LIMIT = 64 * MIB
EMBED_PATHS = frozenset({"/embed", "/v1/embeddings"})
DRAIN_BYTES, DRAIN_SECONDS = 32 * MIB, 2.0  # what is read and dropped after a refusal
OPEN_PATHS = frozenset({"/livez", "/readyz"})  # answered without a key
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Keys:
    """The accepted API keys, kept as digests and compared in constant time."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def accept(self, authorization: str | None) -> bool:
        """Whether the header is `Bearer <key>` with a known key. Every key is compared, so time tells nothing."""
        scheme, _, given = (authorization or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        found = [hmac.compare_digest(digest, each) for each in self._digests]
        return scheme.lower() == "bearer" and any(found)


class Gate:
    """Id, key, origin and size. Raises nothing: refusals are answered here."""

    def __init__(self, app: ASGIApp, keys: Keys, telemetry: Telemetry) -> None:
        self.app = app
        self.keys = keys
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = request_id
        limit = EMBED_LIMIT if scope["path"] in EMBED_PATHS else JSON_LIMIT
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = time.perf_counter() - started
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"] = request_id
                answer["Server-Timing"] = ", ".join([*answer.getlist("Server-Timing"), f"total;dur={seconds * 1000:.2f}"])
                self.telemetry.request(scope["method"], _route(scope), message["status"], seconds)
            await send(message)

        refusal = self._refusal(scope, headers, limit)
        if refusal is not None:
            if refusal.kind == "too-large":
                await _drain(receive)
            await respond(request_id, refusal, scope["path"])(scope, receive, send_with_id)
            return
        await self.app(scope, _counted(receive, limit), send_with_id)

    def _refusal(self, scope: Scope, headers: Headers, limit: int) -> Problem | None:
        if self.keys and scope["path"] not in OPEN_PATHS and not self.keys.accept(headers.get("authorization")):
            what = "is not known" if "authorization" in headers else "is missing"
            return Problem(
                "unauthorized", f"The API key {what}; send 'Authorization: Bearer <key>'.", headers={"WWW-Authenticate": "Bearer"}
            )
        if scope["method"] not in _SAFE_METHODS and headers.get("sec-fetch-site") == "cross-site":
            return Problem("forbidden", "A page of another site may not change anything here.")
        length = headers.get("content-length", "")
        if length.isdecimal() and (len(length) > 15 or int(length) > limit):
            return too_large(limit)
        return None


def too_large(limit: int) -> Problem:
    """413 with the limit in words; the connection is closed since the rest of the body is not read."""
    return Problem("too-large", f"The body is larger than {limit // MIB} MiB.", headers={"Connection": "close"})


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive` that stops a body, of unknown length too, at the limit."""
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                if message.get("more_body"):
                    await _drain(receive)
                raise too_large(limit)
        return message

    return receive_counted


async def _drain(receive: Receive) -> None:
    """Read on for a little and forget it: a client that is still writing when the connection closes never sees the answer."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))


def _route(scope: Scope) -> str:
    """The template of the address (`/jobs/{job_id}`), so that metrics do not grow with the number of jobs."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "unmatched"
