"""The measurements of scaling.py that are taken in a process of their own: what was in memory before leaves no trace in them.

python scaling_child.py '{"what": "scan", "folder": "…"}'      prints JSON
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

SAMPLE_SECONDS = 0.1
EVALUATION_IMAGES = 256  # a side; what evaluation keeps in memory is bounded, and not what is measured
MB = 1e6


def scan(folder: str) -> dict[str, Any]:
    """Seconds, and MB above the idle process, of `index_folder`: its peak, and what is kept. Torch is not imported."""
    import ssl_core.data.images  # noqa: F401  the scan imports it when it reads headers: it counts as idle
    from ssl_core.data.sources import index_folder
    from ssl_core.spec import FolderData

    with contextlib.suppress(OSError):  # where it may not be written the peak is that of the imports, if that is higher
        Path("/proc/self/clear_refs").write_text("5")  # the peak (VmHWM) counts from now
    idle = _of_memory("status", os.getpid(), "VmRSS")
    began = time.perf_counter()
    index, _ = index_folder(FolderData(path=Path(folder).name), Path(folder).parent)
    seconds = time.perf_counter() - began
    peak, kept = (_of_memory("status", os.getpid(), name) - idle for name in ("VmHWM", "VmRSS"))
    return {"images": len(index.train) + len(index.held_out), "seconds": seconds, "peak_mb": peak / MB, "kept_mb": kept / MB}


def training_data(
    folder: str, cache: str | None, size: int, batch_size: int, batches: int, workers: int | str, seed: int
) -> dict[str, Any]:
    """Seconds to prepare, µs per image over `batches` batches (read only; with views), and peak MB above the idle process.

    `cache`: a folder for prepared images; None streams them from their files. The first batch of either pass is not counted.
    """
    import torch

    from ssl_core.augment import make_views
    from ssl_core.data.batch import RawBatch
    from ssl_core.data.batches import TrainBatches, worker_count
    from ssl_core.data.cache import Cache
    from ssl_core.data.defaults import IMAGENET_STATISTICS
    from ssl_core.data.load import load_data
    from ssl_core.data.machine import keep_freed_memory
    from ssl_core.data.store import FileStore
    from ssl_core.spec import AugmentConfig, FolderData

    if not torch.cuda.is_available():
        keep_freed_memory()  # as a training process does
    data = FolderData(path=Path(folder).name, size=size, in_memory="auto" if cache else "never")
    with Memory() as memory:
        began = time.perf_counter()
        kept = Cache(Path(cache)) if cache else None
        loaded = load_data(data, Path(folder).parent, max_eval_images=EVALUATION_IMAGES, seed=seed, cache=kept)
        prepared = time.perf_counter() - began
        if loaded.notes or isinstance(loaded.train, FileStore) != (cache is None):
            raise SystemExit(f"not what was to be measured, {type(loaded.train).__name__}: {' '.join(loaded.notes)}")
        stream = TrainBatches(loaded.train, batch_size, seed, workers=worker_count(workers))

        def endless() -> Iterator[RawBatch]:
            while True:
                yield from stream

        def look(batch: RawBatch) -> None:
            make_views(batch.images, AugmentConfig(), size, *IMAGENET_STATISTICS, seed, 0, batch.index)

        given = endless()
        per_image = []
        for step in (lambda batch: None, look):
            step(next(given))
            began = time.perf_counter()
            for batch in islice(given, batches):
                step(batch)
            per_image.append((time.perf_counter() - began) / batches / batch_size * 1e6)
    return {
        "images": len(loaded.train),
        "prepared_seconds": prepared,
        "read_us": per_image[0],
        "read_and_views_us": per_image[1],
        "anonymous_mb": memory.peaks["anonymous"] / MB,
        "mapped_mb": memory.peaks["mapped"] / MB,
    }


class Memory:
    """`with Memory() as memory`: the highest memory of this process and its workers since, in bytes above that at the start.

    Read ten times a second from the kernel's proportional shares, in which pages that several processes have are counted once:
    anonymous (and shared between them) memory, and files mapped into memory, which the system may take back. Linux.
    """

    def __init__(self) -> None:
        self._idle = self._now()
        self.peaks = dict.fromkeys(self._idle, 0)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._done.wait(SAMPLE_SECONDS)
            for name, value in self._now().items():
                self.peaks[name] = max(self.peaks[name], value - self._idle[name])
            if last:
                return

    def _now(self) -> dict[str, int]:
        pids = [os.getpid(), *_children(os.getpid())]
        anonymous = sum(_of_memory("smaps_rollup", pid, "Pss_Anon", "Pss_Shmem") for pid in pids)
        return {"anonymous": anonymous, "mapped": sum(_of_memory("smaps_rollup", pid, "Pss_File") for pid in pids)}


def _of_memory(file: str, pid: int, *names: str) -> int:
    """The sum of these lines of /proc/PID/FILE, in bytes; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.partition(":")[0] in names)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]
    return []


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    measurements: dict[str, Callable[..., dict[str, Any]]] = {"scan": scan, "training_data": training_data}
    print(json.dumps(measurements[task.pop("what")](**task)))
