"""HTTP to addresses that users name: pinned, bounded, and never to where the service should not reach.

A name is resolved once, every address that it has is checked, and the connection goes to that very address: a name cannot point
elsewhere between the check and the connection. No redirect is followed, no proxy used, and the whole exchange has one deadline.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import httpcore
import httpx

from jobs.addresses import Network, NotAllowedAddress, checked, resolve

MOST_BYTES = 64 * 1024  # of an answer to a webhook: it is read to free the connection, and its first letters for the log


class Unsent(Exception):
    """No answer came; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What came back; the body is cut at what was asked for."""

    status: int
    body: bytes = field(repr=False)
    headers: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """Seconds that a 429 or 503 asks to be left alone for, at least 0 (RFC 9110, 10.2.3); None where it does not say."""
        said = next((value for name, value in self.headers if name.lower() == b"retry-after"), b"").decode("latin-1").strip()
        if self.status not in (429, 503) or not said:
            return None
        if said.isascii() and said.isdecimal():
            return float(said[:12])
        try:
            return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
        except (ValueError, OverflowError):
            return None


def send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    private: Iterable[Network] = (),
    seconds: float = 10,
    most: int = MOST_BYTES,
) -> Answer:
    """One request, one connection. Raises Unsent."""
    try:
        parts = checked(url, private)
        backend = _Pinned(tuple(private), time.monotonic() + seconds)
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
        sent = {"Host": parts.netloc, "Content-Length": str(len(body)), "Accept-Encoding": "identity", **headers}
        with (
            httpcore.ConnectionPool(ssl_context=_context(), network_backend=backend, max_connections=1) as pool,
            pool.stream(method, url, headers=list(sent.items()), content=body, extensions={"timeout": timeout}) as response,
        ):
            return Answer(response.status, _beginning(response, most), response.headers)
    except NotAllowedAddress as error:
        raise Unsent(str(error)) from None
    except ValueError as error:
        raise Unsent(f"the URL {error}") from None
    except httpcore.TimeoutException:
        raise Unsent(f"no whole answer within {seconds:g} s") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise Unsent(f"{type(error).__name__}: {error}"[:300]) from None


def _beginning(response: httpcore.Response, most: int) -> bytes:
    found = bytearray()
    for piece in response.iter_stream():
        found += piece
        if len(found) >= most:
            break
    return bytes(found[:most])


@lru_cache
def _context() -> ssl.SSLContext:
    return httpx.create_ssl_context()


class _Pinned(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and to no others."""

    def __init__(self, private: tuple[Network, ...], deadline: float) -> None:
        self._private, self._deadline = private, deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.NetworkStream:
        failed: Exception | None = None
        for address in resolve(host, port, self._private):
            try:
                left = _left(self._deadline)
                return _Bounded(self._plain.connect_tcp(address, port, left, local_address, socket_options), self._deadline)
            except httpcore.NetworkError as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> httpcore.NetworkStream:
        raise NotAllowedAddress("no socket of this machine is connected to")

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _Bounded(httpcore.NetworkStream):
    """A stream whose reads and writes end by a deadline, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Bounded(self._stream.start_tls(ssl_context, server_hostname, _left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return left
