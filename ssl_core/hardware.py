"""What this machine is good at: precision and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

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


def choose_devices(asked: int | Literal["auto"], batch_size: int) -> tuple[str, int]:
    """(accelerator, count): every GPU there is, or one CPU process, unless a count is asked for.

    auto takes fewer GPUs when the batch cannot be shared out equally, at least 2 images each: 256 images on 3 GPUs use 2.
    Raises ValueError when more GPUs are asked for than there are.
    """
    gpus = torch.cuda.device_count()
    if gpus == 0:
        return "cpu", 1 if asked == "auto" else asked
    if asked != "auto":
        if asked > gpus:
            raise ValueError(f"trainer.devices = {asked}, and this machine has {gpus}: use 1 to {gpus}, or 'auto'")
        return "gpu", asked
    return "gpu", next(count for count in range(min(gpus, batch_size // 2), 0, -1) if batch_size % count == 0)
