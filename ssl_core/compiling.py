"""torch.compile where it pays: when what is left of the run is long beside the time that compiling takes.

Modules are compiled in place, so that their parameters keep their names and checkpoints fit either way.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from torch import nn

Choice = Literal["auto", "on", "off"]

COMPILE_SECONDS = 120.0  # what inductor takes for forward and backward of a ResNet-50 or ViT-B, generously
GAIN = 0.1  # of a step's time, cautiously: fused elementwise work between the convolutions
WATCHED = 20  # steps that are timed before the decision, the first few left out
WARM_UP = 5


def pays(step_seconds: float, steps_left: int) -> bool:
    """Whether compiling is expected to save more than twice the time it takes."""
    return GAIN * step_seconds * steps_left > 2 * COMPILE_SECONDS


class Compiler:
    """Decides once, some steps into the run, and compiles the encoders. `before_step` is called before each step."""

    def __init__(self, choice: Choice, encoders: Sequence[nn.Module], on_gpu: bool, backend: str = "inductor") -> None:
        self.encoders, self.backend = encoders, backend
        self.undecided = choice == "on" or (choice == "auto" and on_gpu)
        self._wanted = choice == "on"
        self._times: list[float] = []

    def before_step(self, steps_left: int) -> bool:
        """Whether it has compiled just now. Times the steps without waiting for the GPU: once its queue is full, the host
        keeps its pace."""
        if not self.undecided:
            return False
        self._times.append(time.perf_counter())
        if not self._wanted and len(self._times) <= WATCHED:
            return False
        self.undecided = False
        if not self._wanted:
            gaps = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
            if not pays(statistics.median(gaps[WARM_UP:]), steps_left):
                return False
        import torch._dynamo

        torch._dynamo.config.suppress_errors = True  # what cannot be compiled runs as it is
        for encoder in self.encoders:
            encoder.compile(backend=self.backend)
        return True


@contextmanager
def uncompiled(module: nn.Module) -> Iterator[None]:
    """Call the module as it was written: evaluation has other shapes, for which compiling again would not pay."""
    compiled = module._compiled_call_impl
    module._compiled_call_impl = None
    try:
        yield
    finally:
        module._compiled_call_impl = compiled
