"""A load of HTTP requests, from a process of its own that takes as little of the processors as can be: sockets and ready bytes.

    load(port, requests, clients, seconds) -> Load(images/s, latencies)

Each client is a coroutine with a connection of its own that sends the next request as soon as it has the answer to the last.
"""

from __future__ import annotations

import asyncio
import base64
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure import answer, in_child

BOUNDARY = "imprint-benchmark"


@dataclass(frozen=True)
class Load:
    """What was seen: images/s, seconds of each request in order, and how many answers were not 200."""

    images_per_second: float
    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")

    @property
    def median(self) -> float:
        """Milliseconds."""
        return 1000 * statistics.median(self.seconds) if self.seconds else float("nan")


def multipart(pictures: Sequence[bytes]) -> tuple[str, bytes]:
    """(Content-Type, body) of a form with the pictures in fields named images."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + picture
        + b"\r\n"
        for number, picture in enumerate(pictures)
    ]
    return f"multipart/form-data; boundary={BOUNDARY}", b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def as_json(pictures: Sequence[bytes], **fields: str) -> tuple[str, bytes]:
    """(Content-Type, body) of an object with the pictures as base64 in `images`."""
    return "application/json", json.dumps({**fields, "images": [base64.b64encode(each).decode() for each in pictures]}).encode()


def put_load(
    port: int,
    photos: Sequence[Path],
    clients: int,
    batch: int,
    seconds: float,
    warm_up: float,
    path: str,
    encoders: Sequence[str] = (),
) -> Load:
    """Requests of `batch` photos each, by `clients` at once; what is answered in the first `warm_up` seconds is not counted.

    One photo is sent as a form, several as JSON. encoders: names that the requests ask for in turn. Raises measure.Failed.
    """
    task = {"port": port, "photos": [str(each) for each in photos], "clients": clients, "batch": batch}
    given = in_child("load.py", {**task, "seconds": seconds, "warm_up": warm_up, "path": path, "encoders": list(encoders)})
    return Load(given["images_per_second"], given["seconds"], given["failed"])


def _requests(photos: Sequence[str], batch: int, path: str, encoders: Sequence[str]) -> list[bytes]:
    """Whole requests, head and body, to be sent in turn."""
    files = [Path(each).read_bytes() for each in photos]
    made = []
    for number in range(max(1, min(len(files), 64 if batch == 1 else 8))):
        pictures = [files[(number * batch + at) % len(files)] for at in range(batch)]
        kind, body = multipart(pictures) if batch == 1 else as_json(pictures)
        query = f"?encoder={encoders[number % len(encoders)]}" if encoders else ""
        head = f"POST {path}{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


async def _client(port: int, requests: Sequence[bytes], start: int, until: float, done: list[tuple[float, float, bool]]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
    number = start
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        await reader.readexactly(int(headers["content-length"]))
        done.append((began, time.perf_counter(), lines[0].split(" ")[1] == "200"))
        number += 1
    writer.close()


def _measure(
    port: int, photos: list[str], clients: int, batch: int, seconds: float, warm_up: float, path: str, encoders: list[str]
) -> dict[str, object]:
    requests = _requests(photos, batch, path, encoders)
    done: list[tuple[float, float, bool]] = []
    counted_from = time.perf_counter() + warm_up

    async def run() -> None:
        until = counted_from + seconds
        await asyncio.gather(*(_client(port, requests, number * 7, until, done) for number in range(clients)))

    asyncio.run(run())
    counted = [(began, ended, fine) for began, ended, fine in done if ended >= counted_from and began < counted_from + seconds]
    fine = [ended - began for began, ended, good in counted if good]
    # The last answers come after the clock has stopped, in place of those that were under way when it started.
    return {
        "images_per_second": len(fine) * batch / (max((ended for _, ended, _ in counted), default=1.0) - counted_from),
        "seconds": fine,
        "failed": len(counted) - len(fine),
    }


if __name__ == "__main__":
    answer(_measure)
