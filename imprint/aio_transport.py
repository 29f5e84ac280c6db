"""`imprint.transport` on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from imprint.errors import ImprintError
from imprint.flow import Call, Next, Open, Opened, Pause, Step, Upload, Work
from imprint.transport import Attempts, as_imprint_errors, options, read_problem, sent


class AsyncTransport:
    """A pooled connection to one server, of one event loop. Raises only ImprintErrors."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            self.http = httpx.AsyncClient(**options(self.base_url, api_key, timeout))
        except (httpx.InvalidURL, ValueError) as error:
            raise ImprintError(f"{base_url!r} is not an address: {error}") from error

    async def close(self) -> None:
        await self.http.aclose()

    async def answer_to(self, call: Call) -> httpx.Response:
        """The answer, when it is a success; tried as often as Attempts says."""
        attempts = Attempts(self.base_url, call)
        while True:
            try:
                body = _pieces(call.content) if call.content is not None else None
                response = await self.http.request(**sent(call, self.http.timeout), content=body)
            except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
                pause = attempts.broken(error)
            else:
                if response.is_success:
                    return response
                pause = attempts.refused(response)
            await asyncio.sleep(pause)

    def performer(self) -> Awaiting:
        """Who carries out the steps of one flow."""
        return Awaiting(self)


async def _pieces(upload: Upload) -> AsyncIterator[bytes]:
    """As they are sent; read in a thread, told on the loop."""
    file = await asyncio.to_thread(upload.path.open, "rb")
    try:
        done = upload.begin
        while piece := await asyncio.to_thread(upload.read, file, done):
            yield piece
            done = upload.sent(done, piece)
    finally:
        file.close()


async def _worked(what: Callable[[], Any]) -> Any:
    """In a thread. Whoever cancels waits for its end, so that what cleans up after a flow finds nobody at work."""
    work = asyncio.ensure_future(asyncio.to_thread(what))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # of no interest any more
        raise


class Awaiting:
    """Carries out steps one after the other, awaiting each."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._opened = contextlib.AsyncExitStack()

    async def __call__(self, step: Step) -> Any:
        if isinstance(step, Call):
            return await self._transport.answer_to(step)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Work):
            return await _worked(step.what)
        with as_imprint_errors(self._transport.base_url):
            if isinstance(step, Open):
                return await self._open(step)
            return await anext(step.of.pieces, None) if isinstance(step, Next) else None

    async def _open(self, step: Open) -> Opened:
        await self._opened.aclose()  # of a flow, one answer is read at a time
        call = Call("GET", step.path, step.params, headers=step.headers, timeout=step.timeout)
        asked = {name: value for name, value in sent(call, self._transport.http.timeout).items() if value is not None}
        response = await self._opened.enter_async_context(self._transport.http.stream(**asked))
        if not response.is_success:
            await response.aread()
            raise read_problem(response)
        return Opened(response.status_code, response.headers, response.aiter_lines() if step.lines else response.aiter_bytes())

    async def close(self) -> None:
        await self._opened.aclose()
