"""The encoders in memory: loaded on first use in a thread, kept while there is room, the least recently used dropped first.

torch is imported here only, inside the loading thread; the process answers before that is done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.batcher import Vectors
from api.telemetry import Telemetry

if TYPE_CHECKING:
    from ssl_core.embedder import Embedder

log = logging.getLogger("api")


@dataclass(frozen=True)
class Loaded:
    """An encoder in memory. Eviction only forgets it: who holds it can finish with it."""

    id: str
    embedder: Embedder
    size_bytes: int

    @property
    def dim(self) -> int:
        return int(self.embedder.dim)

    def run(self, rows: Sequence[Any]) -> Vectors:
        """Preprocessed images (3, S, S) -> (N, dim) float32. Called in the inference thread."""
        import torch

        return self.embedder.embed(torch.stack(list(rows)))


class Embedders:
    """A cache of Loaded by encoder id, bounded by number and by bytes of weights."""

    def __init__(self, telemetry: Telemetry, *, max_count: int = 8, max_bytes: int = 4 * 2**30) -> None:
        self.max_count = max_count
        self.max_bytes = max_bytes
        self._telemetry = telemetry
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()
        self._loading: dict[str, asyncio.Future[Loaded]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    async def get(self, encoder_id: str, folder: Path) -> Loaded:
        """The encoder of this id; requests that come while it loads share the loading. Raises what Embedder.load raises."""
        if encoder_id in self._loaded:
            self._loaded.move_to_end(encoder_id)
            return self._loaded[encoder_id]
        if encoder_id not in self._loading:
            loop = asyncio.get_running_loop()
            self._loading[encoder_id] = loop.run_in_executor(self._thread, _load, encoder_id, folder)
            self._loading[encoder_id].add_done_callback(lambda future: self._keep(encoder_id, future))
        # Shielded: the load goes on for the others, and for the cache, when this client leaves.
        return await asyncio.shield(self._loading[encoder_id])

    async def import_torch(self) -> None:
        """Have torch and the embedder imported, so that the first request only loads weights."""
        await asyncio.get_running_loop().run_in_executor(self._thread, _import)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._loaded.clear()

    def _keep(self, encoder_id: str, future: asyncio.Future[Loaded]) -> None:
        self._loading.pop(encoder_id, None)
        if future.cancelled() or future.exception() is not None:
            return
        self._loaded[encoder_id] = future.result()
        while len(self._loaded) > 1 and (
            len(self._loaded) > self.max_count or sum(each.size_bytes for each in self._loaded.values()) > self.max_bytes
        ):
            dropped, _ = self._loaded.popitem(last=False)
            log.info("dropped encoder %s from memory", dropped)
        self._telemetry.set("imprint_encoders_loaded", len(self._loaded))


def _import() -> None:
    import ssl_core.embedder  # noqa: F401


def _load(encoder_id: str, folder: Path) -> Loaded:
    from ssl_core.embedder import Embedder

    embedder = Embedder.load(folder)
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    log.info("loaded encoder %s", encoder_id)
    return Loaded(encoder_id, embedder, size)
