"""The bound: forward, backward, optimiser and moving average of a spec's method on one batch in memory, and nothing else.

    python benchmarks/bare.py '{"spec": {…}, "seconds": 20, "steps": null}'     prints {"images_per_second": …, "compiled": …}

The very Method, precision, memory format and optimiser that training takes, compiled where training would compile it, without
data, augmentation, Lightning, logging and what the method only watches (cosines, contrast accuracy).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import torch
from measure import answer, images_per_second
from torch import Tensor

from ssl_core.assembly import method_of
from ssl_core.augment import make_views
from ssl_core.compiling import Compiler
from ssl_core.data.batch import Batch, RawBatch
from ssl_core.data.machine import keep_freed_memory
from ssl_core.hardware import choose_precision
from ssl_core.methods.base import Method
from ssl_core.optim import build_optimizer
from ssl_core.parts.ema import step_progress
from ssl_core.spec import TrainSpec

ENDLESS = 1_000_000  # steps
_HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def device() -> torch.device:
    """Where training would be, on one device."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bare_step(spec: TrainSpec, total_steps: int) -> tuple[Method, Callable[[Batch], None]]:
    """The method, on its device, and its step: gradients, optimiser, moving average.

    total_steps: of the run that it stands for; whether compiling pays depends on it.
    """
    method = method_of(spec).to(device())
    encoders = [each for each in (method.branches.encoder, method.branches.target_encoder) if each is not None]
    compiler = Compiler(spec.trainer.compile, encoders, on_gpu=device().type == "cuda")
    plan = build_optimizer(method, spec.optim, total_steps, steps_per_epoch=total_steps)
    optimizer, schedule = plan["optimizer"], plan["lr_scheduler"]["scheduler"]
    precision = choose_precision(spec.trainer.precision)
    half = _HALF.get(precision)
    scaler = torch.amp.GradScaler(device().type, enabled=half is torch.float16)
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    done = 0

    def step(batch: Batch) -> None:
        nonlocal done
        compiler.before_step(total_steps - done)
        optimizer.zero_grad()
        with torch.autocast(device().type, dtype=half, enabled=half is not None):
            loss = method.training_step(batch, done)
        scaler.scale(loss).backward()
        if spec.trainer.gradient_clip is not None:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, spec.trainer.gradient_clip)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        method.branches.update_target(step_progress(done, total_steps))
        done += 1

    return method, step


def some_images(spec: TrainSpec) -> RawBatch:
    """A batch of noise on the device, uint8 (N, 3, S, S)."""
    assert spec.data.size is not None
    count, size = spec.trainer.batch_size, spec.data.size
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, device=device())
    return RawBatch(images, torch.arange(count, device=device()))


def draw(spec: TrainSpec, batch: RawBatch) -> Batch:
    """The views that training would draw, as it hands them to the method."""
    data = spec.data
    assert data.size is not None and data.mean is not None and data.std is not None
    drawn = make_views(batch.images, spec.augment, data.size, data.mean, data.std, spec.trainer.seed, 0, batch.index)
    views: Any = tuple(view.contiguous(memory_format=torch.channels_last) for view in drawn)
    return Batch(views, batch.index)


def without_watching(method: Method) -> None:
    """Take out of the step what only looks at it."""

    def nothing(*_: Any) -> dict[str, Tensor]:
        return {}

    for name in ("watch_cosines", "watch_contrast"):
        assert hasattr(method, name), f"{name} is gone from Method: what does it watch now?"
        setattr(method, name, nothing)


def measure(spec: dict[str, Any], seconds: float, steps: int | None = None, total_steps: int = ENDLESS) -> dict[str, Any]:
    """Images/s of the bare step of a complete spec, for a run of `total_steps`, and whether it was compiled."""
    whole = TrainSpec.model_validate(spec)
    if device().type == "cpu":
        keep_freed_memory()  # as training does
    torch.manual_seed(whole.trainer.seed)
    method, step = bare_step(whole, total_steps)
    without_watching(method)
    speed = images_per_second(step, repeat(draw(whole, some_images(whole))), whole.trainer.batch_size, seconds, steps)
    compiled = method.branches.encoder._compiled_call_impl is not None
    return {"images_per_second": speed, "compiled": compiled}


if __name__ == "__main__":
    answer(measure)
