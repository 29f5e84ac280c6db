"""One HTTP call to the service: retries where repeating is harmless, problems become exceptions. Knows no route."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import httpx

from imprint.errors import BY_STATUS, ConnectionFailed, ImprintError, Problem, ServiceError, UsageError
from imprint.version import version

PAUSES = (0.2, 0.5, 1.0)  # seconds before each repetition
LONGEST_ANSWER = 3600.0  # seconds from the end of a large body to the answer
LONGEST_PAUSE = 10.0  # seconds; a server that asks for more is reported instead


class Transport:
    """A pooled connection to one server. Raises only ImprintErrors."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        headers = {"User-Agent": f"imprint/{version()}"}
        if api_key:
            _check(api_key)
            headers["Authorization"] = f"Bearer {api_key}"
        self.base_url = base_url.rstrip("/")
        try:
            self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=httpx.Timeout(timeout, connect=5.0))
        except (httpx.InvalidURL, ValueError) as error:
            raise ImprintError(f"{base_url!r} is not an address: {error}") from error
        # A script that forgets to close it leaves no open socket behind all the same.
        self._finish = weakref.finalize(self, self._http.close)

    def close(self) -> None:
        self._finish()

    def request(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        data: Mapping[str, Any] | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer, when it is a success.

        `repeatable`: whether sending it twice does no harm (default: GET and PUT). A repeatable request is sent again when
        the connection breaks or the server is busy (503, or 429 with Retry-After). Any request is sent again when the
        connection was refused, since then it never arrived.
        """
        if repeatable is None:
            repeatable = method in ("GET", "PUT")
        query = {name: value for name, value in (params or {}).items() if value is not None}
        for pause in (*PAUSES, None):
            try:
                response = self._http.request(
                    method, path, params=query, json=json, data=data, files=files, headers=headers and dict(headers)
                )
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise ImprintError(f"{self.base_url!r} is not an address: {error}") from error
            except (httpx.TransportError, httpx.DecodingError) as error:
                refused = isinstance(error, httpx.ConnectError)
                if pause is None or not (refused or (repeatable and not isinstance(error, httpx.TimeoutException))):
                    raise self._unreachable(error) from error
            else:
                if response.is_success:
                    return response
                problem = read_problem(response)
                wait = problem.retry_after or pause or 0.0
                busy = response.status_code == 503 or (response.status_code == 429 and problem.retry_after)
                if pause is None or not (repeatable and busy) or wait > LONGEST_PAUSE:
                    raise problem
                pause = wait
            time.sleep(pause)
        raise AssertionError("unreachable: the last repetition returns or raises")

    def send(
        self, path: str, pieces: Iterator[bytes], length: int, *, params: Mapping[str, Any], headers: Mapping[str, str]
    ) -> httpx.Response:
        """POST a body of known length, however large, once. What the server makes of it may take its time."""
        query = {name: value for name, value in params.items() if value is not None}
        usual = self._http.timeout
        waiting = httpx.Timeout(connect=usual.connect, read=LONGEST_ANSWER, write=usual.write, pool=usual.pool)
        given = {**headers, "Content-Length": str(length)}
        try:
            response = self._http.post(path, params=query, content=pieces, headers=given, timeout=waiting)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise read_problem(response)
        return response

    def download(self, path: str, file: BinaryIO) -> None:
        """Write an answer's body to the end of `file`, however large; goes on where it was when the connection breaks."""
        begin = file.tell()
        for pause in (*PAUSES, None):
            done = file.tell() - begin
            try:
                with self._http.stream("GET", path, headers={"Range": f"bytes={done}-"} if done else {}) as response:
                    if not response.is_success:
                        response.read()
                        raise read_problem(response)
                    if response.status_code != 206:  # from its beginning
                        file.seek(begin)
                        file.truncate()
                    for piece in response.iter_bytes():
                        file.write(piece)
                    return
            except httpx.TransportError as error:
                if pause is None:
                    raise self._unreachable(error) from error
                time.sleep(pause)

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return ConnectionFailed(
                f"no Imprint server answers at {self.base_url}",
                "start one with `imprint up`, or name another with --server or IMPRINT_SERVER",
            )
        if isinstance(error, httpx.TimeoutException):
            return ConnectionFailed(f"{self.base_url} did not answer in time")
        return ConnectionFailed(f"the connection to {self.base_url} broke: {str(error) or type(error).__name__}")


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
