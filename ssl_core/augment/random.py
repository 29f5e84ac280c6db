"""Random numbers without state: uniform numbers in [0, 1) that are a function of what they are for.

`uniforms(seed, epoch, index, view, count)` gives an image the same numbers in whatever batch, on whatever rank and device
it appears, so a run can be stopped and resumed, or spread over more processes, without a generator to carry along.

The hash is the finaliser of SplitMix64 (Steele, Lea & Flood 2014; its constants are those of Stafford's variant 13), applied
to one number after the other: seed, epoch, view, image, purpose.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: multiples of it are spread evenly
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(value: int) -> int:
    """SplitMix64 of an integer (any; taken modulo 2**64) in [0, 2**64)."""
    value = (value + 1) * _GOLDEN & _MASK
    value = (value ^ (value >> 30)) * _FIRST & _MASK
    value = (value ^ (value >> 27)) * _SECOND & _MASK
    return value ^ (value >> 31)


def mix_tensor(values: Tensor) -> Tensor:
    """`mix` of each element of an int64 tensor; the 64 bits are kept in a signed integer, whose products wrap around."""
    values = (values + 1) * _signed(_GOLDEN)
    values = (values ^ _shifted(values, 30)) * _signed(_FIRST)
    values = (values ^ _shifted(values, 27)) * _signed(_SECOND)
    return values ^ _shifted(values, 31)


def uniforms(seed: int, epoch: int, index: Tensor, view: int, count: int) -> Tensor:
    """float32 (count, N) in [0, 1), multiples of 2**-24, for the images `index` (int64 (N,)): row p is purpose p."""
    base = _signed(mix(mix(mix(seed) + epoch) + view))
    images = mix_tensor(index + base)
    purposes = torch.arange(count, device=index.device, dtype=torch.int64).unsqueeze(1)
    return _shifted(mix_tensor(images + purposes), 40).to(torch.float32) * 2.0**-24


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
