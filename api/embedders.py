"""The encoders in memory: loaded on first use in a thread, kept while there is room, the least recently used dropped first.

One that is dropped lives on until the requests that hold it are answered. The next is loaded only then, so that what is in
memory stays within its bounds when more encoders are asked for than there is room for.

Backends are imported here only, inside the loading thread; the process answers before that is done.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.batcher import Vectors
from api.telemetry import Telemetry
from ssl_core.data.machine import return_freed_memory
from ssl_core.manifest import read_manifest

if TYPE_CHECKING:
    from ssl_core.embedder import Embedder

log = logging.getLogger("api")
REMEMBERED = 10_000  # names
PATIENCE = 5.0  # seconds that a load waits for those who still use what was dropped for it
WEIGHT_COPIES = 2  # of the weights' bytes, roughly what a loaded encoder takes: the file's, and those packed for the processor


@dataclass(eq=False)
class Loaded:
    """An encoder in memory. Eviction only forgets it: who holds it can finish with it."""

    id: str
    embedder: Embedder
    size_bytes: int
    used: float = field(default_factory=time.monotonic)

    @property
    def dim(self) -> int:
        return int(self.embedder.dim)

    def run(self, rows: Sequence[Any]) -> Vectors:
        """Prepared images uint8 (S, S, 3) -> (N, dim) float32. Called in the inference thread."""
        return self.embedder.embed(self.embedder.stacked(rows))

    def run_grids(self, rows: Sequence[Any]) -> Vectors:
        """Prepared images -> local features (N, rows, columns, width) float32. Called in the inference thread."""
        return self.embedder.grids(self.embedder.stacked(rows))


class Embedders:
    """A cache of Loaded by encoder id, bounded by bytes and by idle time."""

    def __init__(self, telemetry: Telemetry, *, max_bytes: int = 4 * 2**30, idle_seconds: float = 3600) -> None:
        self.max_bytes = max_bytes
        self.idle_seconds = idle_seconds
        self._telemetry = telemetry
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._leaving: weakref.WeakSet[Loaded] = weakref.WeakSet()  # dropped, and still held by somebody
        self._meant: dict[tuple[str, str], str] = {}  # (owner, name)
        self._loading: dict[str, asyncio.Task[Loaded]] = {}
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    async def get(self, encoder_id: str, folder: Path) -> Loaded:
        """The encoder of this id; requests that come while it loads share the loading. Raises what Embedder.load raises.

        Whoever waits here must not hold another encoder: that might be the one that has to leave first.
        """
        found = self.find(encoder_id)
        if found is not None:
            return found
        if encoder_id not in self._loading:
            self._loading[encoder_id] = asyncio.create_task(self._bring(encoder_id, folder), name=f"load {encoder_id}")
            self._loading[encoder_id].add_done_callback(lambda task: self._brought(encoder_id, task))
        # Shielded: the load goes on for the others, and for the cache, when this client leaves.
        return await asyncio.shield(self._loading[encoder_id])

    def find(self, encoder_id: str) -> Loaded | None:
        """The encoder of this id if it is in memory; it then counts as just used."""
        found = self._loaded.get(encoder_id)
        if found is not None:
            self._loaded.move_to_end(encoder_id)
            found.used = time.monotonic()
        return found

    def meant(self, name: str, owner: str = "") -> Loaded | None:
        """What the name (an id, a job's id, an alias) stood for when this owner last asked for it, if that is in memory."""
        return self.find(self._meant.get((owner, name), name))

    def remember(self, name: str, encoder_id: str, owner: str = "") -> None:
        """Note what the name stands for now."""
        if len(self._meant) >= REMEMBERED:
            self._meant.clear()
        self._meant[owner, name] = encoder_id

    def __contains__(self, encoder_id: str) -> bool:
        return encoder_id in self._loaded or encoder_id in self._loading

    async def warm(self) -> None:
        """Have the embedder and OpenVINO imported, so that the first request only loads weights."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _import)

    def drop_idle(self) -> None:
        """Forget what nobody has used for `idle_seconds`."""
        before = time.monotonic() - self.idle_seconds
        for encoder_id in [each.id for each in self._loaded.values() if each.used < before]:
            self._drop(encoder_id, "idle")
            self._thread.submit(return_freed_memory)
        self._tell()

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._loaded.clear()

    async def _bring(self, encoder_id: str, folder: Path) -> Loaded:
        loop = asyncio.get_running_loop()
        async with self._turn:
            size = await loop.run_in_executor(self._thread, _size, folder)
            while self._loaded and self._bytes() + size > self.max_bytes:
                self._drop(next(iter(self._loaded)), "room")
            until = time.monotonic() + PATIENCE
            while self._leaving and time.monotonic() < until:
                await asyncio.sleep(0.005)
            found = await loop.run_in_executor(self._thread, self._load, encoder_id, folder)
            self._loaded[encoder_id] = found
        self._tell()
        return found

    def _load(self, encoder_id: str, folder: Path) -> Loaded:
        from ssl_core.embedder import Embedder

        return_freed_memory()
        started = time.perf_counter()
        embedder = Embedder.load(folder)
        seconds = time.perf_counter() - started
        self._telemetry.observe("imprint_encoder_load_seconds", seconds)
        backend = embedder.backend
        log.info("loaded encoder %s: %s, %s, in %.2f s", encoder_id, backend.name, backend.precision, seconds)
        return Loaded(encoder_id, embedder, WEIGHT_COPIES * embedder.facts.size_bytes)

    def _brought(self, encoder_id: str, task: asyncio.Task[Loaded]) -> None:
        self._loading.pop(encoder_id, None)
        if not task.cancelled():
            task.exception()  # those who wait for it are told; nobody may be left who does

    def _drop(self, encoder_id: str, reason: str) -> None:
        self._leaving.add(self._loaded.pop(encoder_id))
        log.info("dropped encoder %s from memory (%s)", encoder_id, reason)
        self._telemetry.add("imprint_encoders_dropped", reason=reason)

    def _bytes(self) -> int:
        return sum(each.size_bytes for each in self._loaded.values())

    def _tell(self) -> None:
        self._telemetry.set("imprint_encoders_loaded", len(self._loaded))
        self._telemetry.set("imprint_encoders_bytes", self._bytes())


def _size(folder: Path) -> int:
    """Bytes that an encoder will take, roughly. Raises EncoderError."""
    return WEIGHT_COPIES * read_manifest(folder).size_bytes


def _import() -> None:
    from ssl_core.embedder import warm_up

    warm_up()
