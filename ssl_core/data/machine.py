"""What this process may use of the machine, as a container limits it. Knows no torch."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

MEMORY_SHARE = 0.25  # in_memory="auto" stays below this share of the memory


def cpus() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The memory of the machine, or of the control group if that is less. 4 GiB where neither can be read."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        total = 4 * 2**30
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # version 2, version 1
        try:
            total = min(total, int((cgroup / file).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def fits_in_memory(in_memory: str, images: int, stored: int) -> bool:
    """Whether so many squares of `stored` px are kept decoded: always, never, or below a quarter of the memory."""
    return in_memory == "always" or (in_memory == "auto" and store_bytes(images, stored) < MEMORY_SHARE * memory_bytes())


def store_bytes(images: int, stored: int) -> int:
    """Memory of decoded images, in bytes."""
    return images * 3 * stored * stored


def keep_freed_memory(kept: int = 2**30) -> bool:
    """Let glibc keep up to `kept` freed bytes for the next tensor, instead of handing each back to the system.

    Without it every temporary of a batch is paid for in page faults, 4 KiB at a time: measured, the augmentation alone
    is twice as fast with it on a CPU. For a process that trains; others had better return their memory. Returns whether it
    was done (not without glibc).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    trim_threshold, mmap_threshold, largest_mmap_threshold = -1, -3, 32 * 2**20  # <malloc.h>; the last is glibc's limit
    return bool(mallopt(trim_threshold, kept) and mallopt(mmap_threshold, largest_mmap_threshold))


def few_arenas(count: int = 2) -> bool:
    """Let glibc's allocator have at most so many heaps, which otherwise grow apart with the number of threads, and with them what
    is freed and not given back. For a process that lives long. Returns whether it was done (not without glibc)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    arena_max = -8  # <malloc.h>
    return bool(mallopt(arena_max, count))


def return_freed_memory() -> bool:
    """Hand freed memory back to the system now. Returns whether any was (False without glibc). The opposite of the above, for a
    process that lives long and has just dropped something large."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


def share_processors(spins: int = 1000) -> None:
    """Let OpenMP's threads sleep soon when they wait for each other, unless the environment says otherwise.

    By default they spin for milliseconds. That is of no use when other programs have work for the processors: the thread that
    is waited for does not run while the others spin. To be called before torch is imported, which reads it once.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(spins))


def make_way(niceness: int = 10) -> None:
    """Let everything else that wants a processor have it first: a training can wait, the answer to a request cannot.

    To be called by the first process of a session. Where Linux groups processes by session (autogroup), a process's niceness
    counts within its group only, and the group has one of its own.
    """
    if hasattr(os, "nice"):
        os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))
