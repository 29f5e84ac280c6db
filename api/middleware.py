"""What happens to every request before a route sees it: an id, the caller, limits of size, number and time; and how long it took.

Plain ASGI, so that bodies and answers stream through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import is_open
from api.errors import Problem, respond
from api.telemetry import Telemetry
from api.web.login import asks_for_a_page, to_the_login
from api.web.sessions import must_be_ours
from jobs import tracing
from jobs.access import Caller
from jobs.settings import Settings

MIB = 2**20
JSON_LIMIT = 1 * MIB  # bytes of any body without pictures
EMBED_LIMIT = 64 * MIB
FORM_SLACK = 64 * 2**10  # bytes of a form around its file
_PICTURES = re.compile(r"/embed|/v1/embeddings|/encoders/[^/]+/search")  # what takes bodies with pictures
DRAIN_BYTES, DRAIN_SECONDS = 32 * MIB, 2.0  # what is read and dropped after a refusal
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NOBODY = Caller("nobody")


class Gate:
    """Id, key, origin, rate, size and time. Raises nothing: refusals are answered here."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        self.app = app
        self.settings = settings
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there are none: one that is added must first have its key asked for
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
        scope.setdefault("state", {})["request_id"] = request_id
        if tracing.on():
            parent = headers.get("traceparent")
            with tracing.span(scope["method"], kind="server", parent=parent, imprint__request_id=request_id) as span:
                await self._handle(scope, receive, send, headers, request_id, span)
        else:
            await self._handle(scope, receive, send, headers, request_id, None)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, headers: Headers, request_id: str, span: Any) -> None:
        limit, seconds = _bounds(scope, headers, self.settings)
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                spent = time.perf_counter() - started
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"] = request_id
                answer["Server-Timing"] = ", ".join([*answer.getlist("Server-Timing"), f"total;dur={spent * 1000:.2f}"])
                self.telemetry.request(scope["method"], _route(scope), message["status"], spent)
                if span is not None:
                    _describe(span, scope, message["status"])
            await send(message)

        try:
            scope["state"]["caller"] = await _admitted(scope, headers, limit)
        except Problem as refusal:
            if refusal.kind == "too-large":
                await drain(receive)
            answer = respond(request_id, refusal, scope["path"])
            if refusal.kind == "unauthorized" and asks_for_a_page(scope, headers):
                answer = to_the_login(scope, headers)
            await answer(scope, receive, send_with_id)
            return
        await self.app(scope, _bounded(receive, limit, seconds, self.settings.body_seconds), send_with_id)


async def _admitted(scope: Scope, headers: Headers, limit: int) -> Caller:
    """Who asks. Raises Problem 401, 403, 413, 429."""
    caller = _NOBODY
    services = scope["app"].state.services
    if not is_open(scope["path"]):
        given = headers.get("authorization")
        session = await services.sessions.caller(headers) if given is None else None
        scope["state"]["by_cookie"] = session is not None
        caller = session or await services.keyring.caller(given)
        wait = services.rate.take(caller.key, time.monotonic())
        if wait:
            raise services.rate.refusal(wait)
    if scope["method"] not in _SAFE_METHODS and headers.get("sec-fetch-site") == "cross-site":
        raise Problem("forbidden", "A page of another site may not change anything here.")
    if scope["method"] not in _SAFE_METHODS and scope["state"].get("by_cookie"):
        must_be_ours(headers)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 15 or int(length) > limit):
        raise too_large(limit)
    return caller


def too_large(limit: int) -> Problem:
    """413 with the limit in words; the connection is closed since the rest of the body is not read."""
    most = f"{limit // MIB:,} MiB" if limit >= MIB else f"{limit:,} bytes"
    return Problem("too-large", f"The body is larger than {most}.", headers={"Connection": "close"})


def _bounds(scope: Scope, headers: Headers, settings: Settings) -> tuple[int, float]:
    """Most bytes of the body, and seconds it may take: an archive's and weights' are their own."""
    if scope["method"] == "POST" and scope["path"] == "/datasets" and "json" not in headers.get("content-type", "json"):
        return int(settings.upload_bytes) + FORM_SLACK, settings.upload_seconds
    if scope["method"] == "POST" and scope["path"] == "/encoders":
        return int(settings.import_bytes), settings.import_seconds
    return EMBED_LIMIT if _PICTURES.fullmatch(scope["path"]) else JSON_LIMIT, settings.body_seconds


def _bounded(receive: Receive, limit: int, seconds: float, silence: float) -> Receive:
    """`receive` that stops a body, of unknown length too, at the limit, and one that has not arrived whole in time, or of which
    nothing has come for `silence` seconds."""
    seen, whole = 0, False
    now = asyncio.get_running_loop().time
    end = now() + seconds

    async def receive_bounded() -> Message:
        nonlocal seen, whole
        if whole:  # from here on it only tells when the client leaves
            return await receive()
        try:
            async with asyncio.timeout_at(min(end, now() + silence)):
                message = await receive()
        except TimeoutError:
            patience = f"of the body had come for {silence:g} s" if now() < end else f"more is taken after {seconds:g} s"
            detail = f"The body had not arrived within {seconds:g} s." if seconds <= silence else f"Nothing {patience}."
            raise Problem("slow", detail, headers={"Connection": "close"}) from None
        if message["type"] == "http.request":
            whole = not message.get("more_body")
            seen += len(message.get("body", b""))
            if seen > limit:
                if not whole:
                    await drain(receive)
                raise too_large(limit)
        return message

    return receive_bounded


async def drain(receive: Receive) -> None:
    """Read on for a little and forget it: a client that is still writing when the connection closes never sees the answer."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                left -= len(message.get("body", b""))


def _describe(span: Any, scope: Scope, status: int) -> None:
    """After OpenTelemetry's conventions for HTTP servers."""
    method, route = scope["method"], _route(scope)
    span.update_name(f"{method} {route}")
    span.set_attributes({"http.request.method": method, "http.route": route, "http.response.status_code": status})
    if status >= 500:
        tracing.failed(span, str(status))


def _route(scope: Scope) -> str:
    """The template of the address (`/jobs/{job_id}`), so that metrics do not grow with the number of jobs."""
    route = scope.get("route")
    return str(getattr(route, "path", "")) or "unmatched"
