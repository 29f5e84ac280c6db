"""One HTTP call to the service: retries where repeating is harmless, problems become exceptions. Knows no route.

`Transport` blocks; `imprint.aio_transport` is the same on an event loop. What they share is decided here, in Attempts.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from typing import Any

import httpx

from imprint.errors import BY_STATUS, ConnectionFailed, ImprintError, Problem, ServiceError, UsageError
from imprint.flow import PAUSES, Call, Next, Open, Opened, Pause, Step, Work
from imprint.version import version

LONGEST_PAUSE = 10.0  # seconds; a server that asks for more is reported instead
CONNECT_SECONDS = 5.0


class Attempts:
    """How often a call is sent: what to do after each failure. Does nothing itself."""

    def __init__(self, base_url: str, call: Call) -> None:
        self.base_url, self._call = base_url, call
        self._pauses = iter((*PAUSES, None))

    def broken(self, error: Exception) -> float:
        """Seconds until the next try, after no answer came. Raises ImprintError where there is none.

        A harmless call is sent again when the connection breaks, and any call when the connection was refused, since then it
        never arrived.
        """
        if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
            raise ImprintError(f"{self.base_url!r} is not an address: {error}") from error
        pause = next(self._pauses)
        refused = isinstance(error, httpx.ConnectError)
        if pause is None or not (refused or (self._call.harmless and not isinstance(error, httpx.TimeoutException))):
            raise unreachable(self.base_url, error) from error
        return pause

    def refused(self, response: httpx.Response) -> float:
        """The same after an answer that is no success: a harmless call is sent again when the server is busy."""
        pause = next(self._pauses)
        problem = read_problem(response)
        wait = problem.retry_after or pause or 0.0
        busy = response.status_code == 503 or (response.status_code == 429 and problem.retry_after)
        if pause is None or not (self._call.harmless and busy) or wait > LONGEST_PAUSE:
            raise problem
        return wait


def options(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What an httpx client is made with. Raises UsageError for a key that is mistyped."""
    headers = {"User-Agent": f"imprint/{version()}"}
    if api_key:
        _check(api_key)
        headers["Authorization"] = f"Bearer {api_key}"
    return {"base_url": base_url, "headers": headers, "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS)}


def sent(call: Call, usual: httpx.Timeout) -> dict[str, Any]:
    """A call as httpx takes it, but for what is uploaded; `usual`: the client's limits, of which a call's `timeout` changes the
    one for the answer."""
    fields: dict[str, Any] = {name: getattr(call, name) for name in ("json", "data", "files")}
    more: dict[str, Any] = {}
    if call.timeout is not None:
        more["timeout"] = httpx.Timeout(connect=usual.connect, read=call.timeout, write=usual.write, pool=usual.pool)
    headers = dict(call.headers) if call.headers else None
    return {"method": call.method, "url": call.path, "params": call.query, "headers": headers, **fields, **more}


class Transport:
    """A pooled connection to one server. Raises only ImprintErrors."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        self.base_url = base_url.rstrip("/")
        try:
            self.http = httpx.Client(**options(self.base_url, api_key, timeout))
        except (httpx.InvalidURL, ValueError) as error:
            raise ImprintError(f"{base_url!r} is not an address: {error}") from error
        # A script that forgets to close it leaves no open socket behind all the same.
        self._finish = weakref.finalize(self, self.http.close)

    def close(self) -> None:
        self._finish()

    def answer_to(self, call: Call) -> httpx.Response:
        """The answer, when it is a success; tried as often as Attempts says."""
        attempts = Attempts(self.base_url, call)
        while True:
            try:
                body = call.content.pieces() if call.content is not None else None
                response = self.http.request(**sent(call, self.http.timeout), content=body)
            except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
                pause = attempts.broken(error)
            else:
                if response.is_success:
                    return response
                pause = attempts.refused(response)
            time.sleep(pause)

    def performer(self) -> Blocking:
        """Who carries out the steps of one flow."""
        return Blocking(self)


class Blocking:
    """Carries out steps one after the other, waiting for each."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._opened = contextlib.ExitStack()

    def __call__(self, step: Step) -> Any:
        if isinstance(step, Call):
            return self._transport.answer_to(step)
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        if isinstance(step, Work):
            return step.what()
        with as_imprint_errors(self._transport.base_url):
            return self._open(step) if isinstance(step, Open) else next(step.of.pieces, None) if isinstance(step, Next) else None

    def _open(self, step: Open) -> Opened:
        self._opened.close()  # of a flow, one answer is read at a time
        call = Call("GET", step.path, step.params, headers=step.headers, timeout=step.timeout)
        asked = {name: value for name, value in sent(call, self._transport.http.timeout).items() if value is not None}
        response = self._opened.enter_context(self._transport.http.stream(**asked))
        if not response.is_success:
            response.read()
            raise read_problem(response)
        return Opened(response.status_code, response.headers, response.iter_lines() if step.lines else response.iter_bytes())

    def close(self) -> None:
        self._opened.close()


@contextlib.contextmanager
def as_imprint_errors(base_url: str) -> Iterator[None]:
    """What goes wrong on the way to the server, as what a flow is thrown."""
    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise ImprintError(f"{base_url!r} is not an address: {error}") from error
    except (httpx.TransportError, httpx.DecodingError, httpx.StreamError) as error:
        raise unreachable(base_url, error) from error


def unreachable(base_url: str, error: Exception) -> ConnectionFailed:
    """Why nothing came back."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ConnectionFailed(
            f"no Imprint server answers at {base_url}",
            "start one with `imprint up`, or name another with --server or IMPRINT_SERVER",
        )
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"{base_url} did not answer in time")
    return ConnectionFailed(f"the connection to {base_url} broke: {str(error) or type(error).__name__}")


def _check(api_key: str) -> None:
    """Raise UsageError for a key of the service's own form whose checksum does not fit; keys of other forms may be right."""
    if not api_key.startswith("imp_"):
        return
    from jobs.secret import mistyped, shown

    if mistyped(api_key):
        raise UsageError(
            f"the API key {shown(api_key)}… is mistyped: its checksum does not fit",
            "copy it whole: imp_, 32 letters and digits, _, and 6 more",
        )


def read_problem(response: httpx.Response) -> ServiceError:
    """The exception for an error answer, whether it is problem+json or some proxy's page."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
    detail = body.get("detail") or body.get("title") or f"the server answered {response.status_code} {response.reason_phrase}"
    errors = body.get("errors")
    problems = [
        Problem(str(each.get("pointer") or each.get("parameter") or ""), str(each.get("detail") or ""))
        for each in (errors if isinstance(errors, list) else [])
        if isinstance(each, dict)
    ]
    try:
        retry_after = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    hint = str(body.get("hint") or "")
    if response.status_code == 401 and not hint:
        hint = "give the server's key with --api-key or IMPRINT_API_KEY"
    return BY_STATUS.get(response.status_code, ServiceError)(
        str(detail),
        status=response.status_code,
        title=str(body.get("title") or ""),
        problems=problems,
        request_id=body.get("request_id") or response.headers.get("X-Request-ID"),
        retry_after=retry_after,
        hint=hint,
    )
