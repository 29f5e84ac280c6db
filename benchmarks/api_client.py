"""Requests by raw sockets from a process of its own, which takes as little of the processors as can be.

    put_requests(port, [("GET", "/jobs", b"")], clients=16, seconds=10) -> Seen(a second, seconds of each, statuses, ids)

Every client sends its next request when it has the answer to the last; with a `rate`, not before its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from measure import answer, in_child

Request = tuple[str, str, bytes]  # method, path, JSON body
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ID = re.compile(rb'"id": *"(\w+)"')


@dataclass(frozen=True)
class Seen:
    """Answers a second, seconds of each, how many of which status, and the ids in bodies of answers to POST."""

    rate: float
    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")

    @property
    def failed(self) -> int:
        """How many were answered with anything but success."""
        return sum(count for status, count in self.statuses.items() if not 200 <= int(status) < 300)


def put_requests(
    port: int,
    requests: Sequence[Request],
    clients: int,
    seconds: float | None = None,
    count: int | None = None,
    rate: float | None = None,
    wait: float = 0,
) -> Seen:
    """The requests in turn, for so many seconds or so many times. `wait`: seconds that the service may take to start.

    Raises measure.Failed.
    """
    plain = [(method, path, body.decode()) for method, path, body in requests]
    given = in_child(
        "api_client.py",
        {"port": port, "requests": plain, "clients": clients, "seconds": seconds, "count": count, "rate": rate, "wait": wait},
    )
    statuses = {int(status): number for status, number in given["statuses"].items()}
    return Seen(given["rate"], given["seconds"], statuses, given["ids"])


def _raw(method: str, path: str, body: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n"
    return f"{head}\r\n{body}".encode()


def _measure(
    port: int,
    requests: list[list[str]],
    clients: int,
    seconds: float | None,
    count: int | None,
    rate: float | None,
    wait: float,
) -> dict[str, object]:
    ready = [_raw(method, path, body) for method, path, body in requests]
    taken, statuses, times, ids = 0, Counter[int](), list[float](), list[str]()
    _until_it_listens(port, wait)
    begun = time.perf_counter()

    async def client() -> None:
        nonlocal taken
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        while (taken < count) if count is not None else (time.perf_counter() - begun < (seconds or 1)):
            mine, taken = taken, taken + 1
            if rate is not None:
                await asyncio.sleep(max(0.0, begun + mine / rate - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(ready[mine % len(ready)])
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            assert length is not None, head
            body = await reader.readexactly(int(length[1]))
            times.append(time.perf_counter() - sent)
            statuses[int(head[9:12])] += 1
            if ready[mine % len(ready)].startswith(b"POST") and (found := _ID.search(body)):
                ids.append(found[1].decode())
        writer.close()

    async def run() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(run())
    return {"rate": len(times) / (time.perf_counter() - begun), "seconds": times, "statuses": dict(statuses), "ids": ids}


def _until_it_listens(port: int, wait: float) -> None:
    import socket

    until = time.monotonic() + wait
    while wait:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"nothing listens on port {port}")
        time.sleep(0.05)


if __name__ == "__main__":
    answer(_measure)
