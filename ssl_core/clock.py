"""Where a step's time goes: waiting for data, drawing views, forward and backward, optimiser, moving average, the rest.

On a CPU the clock is the host's. On a GPU, which works behind the host's back, events in its stream are timed; they are read
when the GPU has passed them, so that no step waits for the clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Stage = Literal["data_wait", "augment", "forward_backward", "optimizer", "ema"]
STAGES: tuple[Stage, ...] = ("data_wait", "augment", "forward_backward", "optimizer", "ema")

_Events = tuple[Stage, torch.cuda.Event, torch.cuda.Event]


class StepClock:
    """Sums up seconds per stage. `shares` tells them since the last time it was asked."""

    def __init__(self, device: torch.device | None = None) -> None:
        self._on_gpu = device is not None and device.type == "cuda"
        self._seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self._pending: list[_Events] = []
        self._since = time.perf_counter()
        self._images = 0

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Time the block. Waiting for data is the host's business, whatever the device."""
        if self._on_gpu and name != "data_wait":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            yield
            end.record()
            self._pending.append((name, start, end))
        else:
            began = time.perf_counter()
            yield
            self._seconds[name] += time.perf_counter() - began

    def step(self, images: int) -> None:
        """Another step is done, of so many images over all ranks."""
        self._images += images

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What happens in the block (an evaluation, a checkpoint) is no part of training."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def shares(self) -> dict[str, float]:
        """`images_per_second` and `<stage>_share` (data_wait_share, …, other_share) since the last call; starts anew.

        Shares are of the time that passed, in [0, 1]. Views are drawn before a step begins, so a report that is made between
        two steps already counts those of the next. On a CPU they add up to 1; on a GPU the host may wait for data while
        the GPU still computes, and the last step may count towards the next call.
        """
        self._collect()
        now = time.perf_counter()
        elapsed = max(now - self._since, 1e-9)
        told = {f"{name}_share": min(seconds / elapsed, 1.0) for name, seconds in self._seconds.items()}
        told["other_share"] = max(0.0, 1.0 - sum(told.values()))
        told["images_per_second"] = self._images / elapsed
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._since, self._images = now, 0
        return told

    def _collect(self) -> None:
        """Read the events that the GPU has passed; they were recorded in this order."""
        passed = 0
        for name, start, end in self._pending:
            if not end.query():  # type: ignore[no-untyped-call]
                break
            self._seconds[name] += start.elapsed_time(end) / 1000
            passed += 1
        del self._pending[:passed]
