"""Dynamic batching: requests for the same encoder share a batch, and none waits when the machine is idle.

One queue per encoder, taken in turn. One thread does all inference of the process, so that batches do not fight for cores.
While it works, requests gather; when it is done, whatever has gathered (up to `max_batch` images) is the next batch. Under load,
a batch that is smaller than the last one waits a moment for the clients just answered to come back.

Knows neither HTTP nor torch: a row is whatever the `run` of a request takes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from api.telemetry import Telemetry

Vectors = npt.NDArray[np.float32]  # (N, dim)
Run = Callable[[Sequence[Any]], Vectors]  # rows -> one vector per row, called in the inference thread

RECENT = 0.05  # seconds after a batch in which its clients are expected back


class QueueFull(Exception):
    """More is waiting than this process accepts; `retry_after` is in whole seconds."""

    def __init__(self, pending: int, pending_bytes: int, retry_after: int) -> None:
        super().__init__(f"{pending} images of {pending_bytes / 2**20:.0f} MiB are waiting already")
        self.retry_after = retry_after


@dataclass(eq=False)
class _Request:
    rows: Sequence[Any]
    run: Run
    row_bytes: int
    future: asyncio.Future[Vectors]
    arrived: float = field(default_factory=time.perf_counter)
    taken: int = 0  # rows given to a batch so far
    parts: list[Vectors] = field(default_factory=list)
    started: float = 0.0
    infer: float = 0.0


@dataclass(frozen=True)
class Result:
    """Vectors in the order of the rows, with the seconds spent waiting and computing."""

    vectors: Vectors
    queue: float
    infer: float


class Batcher:
    """Queues, one dispatcher task on the event loop and one inference thread."""

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        max_batch: int = 32,
        max_batch_bytes: int = 32 * 2**20,
        max_pending: int = 1024,
        max_pending_bytes: int = 512 * 2**20,
        max_wait: float = 0.004,
    ) -> None:
        """max_batch_bytes: of prepared images, so that large ones come in smaller batches. max_pending_bytes: of pictures."""
        self.max_batch = max_batch
        self.max_batch_bytes = max_batch_bytes
        self.max_pending = max_pending
        self.max_pending_bytes = max_pending_bytes
        self.max_wait = max_wait
        self.pending = 0  # images admitted and not yet answered
        self.pending_bytes = 0
        self._telemetry = telemetry
        self._queues: OrderedDict[str, deque[_Request]] = OrderedDict()
        self._arrival = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._task: asyncio.Task[None] | None = None
        self._last_size = 0
        self._last_end = 0.0
        self._seconds_per_image = 0.02  # running mean, for Retry-After

    @contextmanager
    def admit(self, images: int, size: int = 0) -> Iterator[None]:
        """Count the images, and their `size` in bytes, from before they are decoded until they are answered; refuse too much.

        A request is always admitted when nothing else is pending. Raises QueueFull.
        """
        full = self.pending + images > self.max_pending or self.pending_bytes + size > self.max_pending_bytes
        if self.pending and full:
            retry_after = min(60, max(1, math.ceil(self.pending * self._seconds_per_image)))
            raise QueueFull(self.pending, self.pending_bytes, retry_after)
        self._count(images, size)
        try:
            yield
        finally:
            self._count(-images, -size)

    async def submit(self, key: str, rows: Sequence[Any], run: Run, row_bytes: int = 0) -> Result:
        """Embed the rows of one request with the encoder called `key`, `row_bytes` each. Cancelling drops what has not started.

        Raises whatever `run` raises.
        """
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._dispatch(), name="batcher")
        request = _Request(rows, run, row_bytes, asyncio.get_running_loop().create_future())
        self._queues.setdefault(key, deque()).append(request)
        self._arrival.set()
        vectors = await request.future
        waited = request.started - request.arrived
        self._telemetry.observe("imprint_embed_queue_seconds", waited)
        return Result(vectors, waited, request.infer)

    async def close(self) -> None:
        """Finish what was accepted, then stop."""
        while self._queues and self._task is not None and not self._task.done():
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    def _count(self, images: int, size: int) -> None:
        self.pending += images
        self.pending_bytes += size
        self._telemetry.set("imprint_embed_pending_images", self.pending)
        self._telemetry.set("imprint_embed_pending_bytes", self.pending_bytes)

    async def _dispatch(self) -> None:
        while True:
            while not self._queues:
                self._arrival.clear()
                await self._arrival.wait()
            key = next(iter(self._queues))
            await self._gather(key)
            await self._embed(self._take(key))  # a batch, with its pictures and its encoder, is held by nobody afterwards

    async def _embed(self, batch: list[tuple[_Request, int, int]]) -> None:
        if not batch:
            return
        rows = [row for request, start, stop in batch for row in request.rows[start:stop]]
        started = time.perf_counter()
        for request, _, _ in batch:
            request.started = request.started or started
        try:
            vectors = await asyncio.get_running_loop().run_in_executor(self._thread, batch[0][0].run, rows)
        except asyncio.CancelledError:
            self._fail(batch, asyncio.CancelledError())
            raise
        except Exception as error:
            self._fail(batch, error)
        else:
            self._deliver(batch, vectors)
        self._note(len(rows), time.perf_counter() - started, batch)

    async def _gather(self, key: str) -> None:
        """Wait a moment for more, but only if the last batch was larger and its clients may be on their way back."""
        now = time.perf_counter()
        if now - self._last_end > RECENT:
            return
        until = now + self.max_wait
        while self._waiting(key) < min(self._last_size, self.max_batch) and (left := until - time.perf_counter()) > 0:
            self._arrival.clear()
            try:
                await asyncio.wait_for(self._arrival.wait(), left)
            except TimeoutError:
                return

    def _waiting(self, key: str) -> int:
        return sum(len(request.rows) - request.taken for request in self._queues.get(key, ()))

    def _take(self, key: str) -> list[tuple[_Request, int, int]]:
        """As many rows of one encoder as a batch may have, as (request, start, stop); it then goes to the end of the line."""
        queue = self._queues[key]
        batch: list[tuple[_Request, int, int]] = []
        room = self._room(queue)
        while queue and room:
            request = queue[0]
            if request.future.done():  # its client has gone, or an earlier part failed
                queue.popleft()
                continue
            stop = min(len(request.rows), request.taken + room)
            batch.append((request, request.taken, stop))
            room -= stop - request.taken
            request.taken = stop
            if stop == len(request.rows):
                queue.popleft()
        if queue:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return batch

    def _room(self, queue: deque[_Request]) -> int:
        """Rows of one encoder are of one size."""
        return max(1, min(self.max_batch, self.max_batch_bytes // max(1, queue[0].row_bytes)))

    def _deliver(self, batch: list[tuple[_Request, int, int]], vectors: Vectors) -> None:
        offset = 0
        for request, start, stop in batch:
            request.parts.append(vectors[offset : offset + stop - start])
            offset += stop - start
            if stop == len(request.rows) and not request.future.done():
                request.future.set_result(request.parts[0] if len(request.parts) == 1 else np.concatenate(request.parts))

    def _fail(self, batch: list[tuple[_Request, int, int]], error: BaseException) -> None:
        for request, _, _ in batch:
            if not request.future.done():
                request.future.set_exception(error)

    def _note(self, images: int, seconds: float, batch: list[tuple[_Request, int, int]]) -> None:
        self._last_size, self._last_end = images, time.perf_counter()
        self._seconds_per_image += 0.2 * (seconds / images - self._seconds_per_image)
        for request, _, _ in batch:
            request.infer += seconds
        self._telemetry.observe("imprint_embed_batch_images", images)
        self._telemetry.observe("imprint_embed_infer_seconds", seconds)
