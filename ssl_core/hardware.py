"""What this machine is good at: precision and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from ssl_core.ranks import Ranks

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


def choose_precision(asked: str) -> Precision:
    """Lightning's name for `asked`: fp32, bf16, fp16, or auto.

    auto is bf16 where the hardware multiplies it (CUDA from compute capability 8.0 on, x86 with AVX512-BF16 or AMX): bf16 has
    fp32's range, so no loss scaling. Elsewhere bf16 would be emulated slowly, and fp32 is taken.
    """
    if asked == "auto":
        asked = "bf16" if multiplies_bf16() else "fp32"
    names: dict[str, Precision] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    return names[asked]


def multiplies_bf16() -> bool:
    """Whether bf16 is multiplied by the hardware here. Measured where it is not (AVX2): ten times slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def choose_devices(asked: int | Literal["auto"], batch_size: int, started: Ranks | None = None) -> tuple[str, int]:
    """(accelerator, count on this machine): every GPU there is, or one CPU process, unless a count is asked for.

    batch_size: images that go through the network at once, on all devices together.

    auto takes fewer GPUs when the batch cannot be shared out equally, at least 2 images each: 256 images on 3 GPUs use 2.
    started: what torchrun has started, which then decides. Raises ValueError when more GPUs are asked for than there are, or
    when torchrun has started another number of processes.
    """
    gpus = torch.cuda.device_count()
    if started is not None:
        if asked not in ("auto", started.local_size):
            raise ValueError(
                f"trainer.devices = {asked}, and torchrun has started {started.local_size} processes here: "
                f"use {started.local_size}, or 'auto'"
            )
        if batch_size % started.world_size or batch_size < 2 * started.world_size:
            raise ValueError(
                f"a part of {batch_size} images (trainer.batch_size / trainer.accumulate) must be a multiple of the "
                f"{started.world_size} processes that torchrun has started, with at least 2 images for each"
            )
        return ("gpu" if gpus else "cpu"), started.local_size
    if gpus == 0:
        return "cpu", 1 if asked == "auto" else asked
    if asked != "auto":
        if asked > gpus:
            raise ValueError(f"trainer.devices = {asked}, and this machine has {gpus}: use 1 to {gpus}, or 'auto'")
        return "gpu", asked
    return "gpu", next(count for count in range(min(gpus, batch_size // 2), 0, -1) if batch_size % count == 0)
