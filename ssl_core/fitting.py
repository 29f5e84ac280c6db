"""How large a batch fits: `trainer.batch_size: "auto"`, and what to say when one did not.

On a GPU whole steps are tried, views, backward pass and optimiser included, with powers of two between which a binary search
decides. On a CPU, where trying too much ends in the system's killing something, what autograd keeps of a few images is counted,
and half of the memory shared out.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ssl_core.assembly import method_of
from ssl_core.augment import make_views
from ssl_core.data.batch import Batch
from ssl_core.data.defaults import stored_size
from ssl_core.data.machine import memory_bytes
from ssl_core.durable import write_atomically
from ssl_core.hardware import choose_precision
from ssl_core.optim import build_optimizer
from ssl_core.parts.teacher import Teacher
from ssl_core.spec import TrainSpec
from ssl_core.spec.training import AUTO_BATCH

FILE = "batch_size"  # in an attempt's folder: what was found, for the attempts after it
MOST_GPU, MOST_CPU = 4096, 256  # on a CPU more images a step are not faster
_SHARE = 0.9  # of a GPU's memory; the rest is for evaluations, and for what fragments
_COUNTED = 4  # images whose activations are counted on a CPU


class OutOfMemory(Exception):
    """A step did not fit into memory; `hint` names a batch size that does."""

    def __init__(self, batch: int, why: str, fitting: int | None) -> None:
        super().__init__(f"a step of trainer.batch_size = {batch:,} does not fit into memory: {why}")
        self.fitting = fitting
        smaller = f"trainer.batch_size = {fitting:,} fits (tried)" if fitting else "not even 2 images a step fit"
        self.hint = f"{smaller}; a smaller data.size or encoder takes less memory for each image"


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA's allocator has a class of its own; the CPU's says it in a RuntimeError."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(words in str(error) for words in ("can't allocate memory", "not enough memory"))


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int | None:
    """The largest power of two from 2 up to `most` for which `fits` is true, if those above do not fit either; or None."""
    low, high = 0, int(math.log2(most)) if most >= 2 else 0  # 2**low fits, or low is 0: nothing is known to fit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(2**middle):
            low = middle
        else:
            high = middle - 1
    return 2**low if low else None


def with_batch_size(
    spec: TrainSpec,
    images: int,
    devices: int,
    device: torch.device,
    out: Path,
    earlier: Sequence[Path],
    teacher: Teacher | None = None,
) -> tuple[TrainSpec, str | None]:
    """The spec with a number for `auto`, and a note of it; unchanged, without a note, where a number was given.

    At most a quarter of the images, so that an epoch has four steps. An attempt that goes on takes what the first one found.
    The learning rate of the spec is for AUTO_BATCH images, and follows in proportion.
    """
    if spec.trainer.batch_size != "auto":
        return spec, None
    known = next((int((each / FILE).read_text()) for each in (out, *earlier) if (each / FILE).exists()), None)
    if known is None:
        gpu = device.type == "cuda"
        most = max(2, min(MOST_GPU if gpu else MOST_CPU, images // 4 // devices))
        found = (
            largest_that_fits(lambda batch: _fits(spec, batch, device, teacher), most)
            if gpu
            else by_rule(spec, most, teacher=teacher)
        )
        if found is None:
            raise OutOfMemory(2, f"of a {'GPU' if gpu else 'CPU'}", None)
        known = found * devices
        write_atomically(out / FILE, lambda file: file.write(str(known).encode()))
    factor = known / AUTO_BATCH
    optim = spec.optim.changed(lr=spec.optim.lr * factor, final_lr=spec.optim.final_lr * factor)
    note = f"trainer.batch_size = {known}: the largest power of two that fits; optim.lr = {optim.lr:.4g}, in proportion to it"
    trainer = {**spec.trainer.model_dump(), "batch_size": known}
    return spec.changed(trainer=trainer, optim=optim.model_dump()), note


def fitting_below(spec: TrainSpec, device: torch.device, teacher: Teacher | None = None) -> int | None:
    """A power of two below the spec's batch size that fits, found by trying."""
    return largest_that_fits(lambda batch: _fits(spec, batch, device, teacher), (spec.trainer.batch - 1))


def _fits(spec: TrainSpec, batch: int, device: torch.device, teacher: Teacher | None) -> bool:
    """Whether a step of so many images goes through."""
    try:
        _step(spec, batch, device, teacher)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_reserved(device) < _SHARE * torch.cuda.get_device_properties(device).total_memory
        return True
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        gc.collect()  # the failed step's frames hold its tensors
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def _step(spec: TrainSpec, batch: int, device: torch.device, teacher: Teacher | None) -> None:
    """Views, forward, backward and one step of the optimiser, on random images: all that a step of training holds at once."""
    method = method_of(spec, teacher=teacher).to(device)
    optimizer = build_optimizer(method, spec.optim, 1000, 100)["optimizer"]
    precision = choose_precision(spec.trainer.precision)
    half = torch.float16 if precision == "16-mixed" else torch.bfloat16
    with torch.autocast(device.type, dtype=half, enabled=precision != "32-true"):
        loss = method.training_step(_views(spec, batch, device), 0)
    torch.autograd.backward(loss)
    optimizer.step()
    method.branches.update_target(0.0)


def _views(spec: TrainSpec, batch: int, device: torch.device) -> Batch:
    data = spec.data
    assert data.size and data.mean and data.std
    side = stored_size(data)
    images = torch.randint(256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    index = torch.arange(batch, device=device)
    views = make_views(images, spec.augment, data.size, data.mean, data.std, 0, 0, index)
    return Batch(tuple(view.contiguous(memory_format=torch.channels_last) for view in views), index)


def by_rule(spec: TrainSpec, most: int, memory: int | None = None, teacher: Teacher | None = None) -> int | None:
    """The largest power of two up to `most` that half of the memory (in bytes; None: this machine's) has room for.

    Counted are the weights four times over, and twice what autograd keeps of each image.
    """
    method = method_of(spec, teacher=teacher)
    weights = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in method.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    views = _views(spec, _COUNTED, torch.device("cpu"))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = method.training_step(views, 0)  # noqa: F841  # holds what autograd keeps until it is counted
    room = (memory or memory_bytes()) / 2 - 4 * sum(weights.values())
    most_images = room / (2 * sum(kept.values()) / _COUNTED)
    return largest_that_fits(lambda batch: batch <= most_images, most)
