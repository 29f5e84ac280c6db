"""The moving average that makes a target network, and how its momentum grows over a run.

Counting, once and for all: of T optimiser steps, step k = 0 … T - 1 is followed by one update, with momentum m(k / (T - 1)).
The first update therefore uses the configured momentum exactly, and under the cosine schedule the last one uses exactly 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target ← momentum·target + (1 - momentum)·online, for every parameter, in a few fused operations.

    Parameters only: the target runs its own forward passes in training mode, so its buffers (batch norm's running statistics)
    are its own, as in MoCo and BYOL. A momentum of 1 changes nothing, 0 copies exactly. The modules must be of one structure.
    """
    targets: list[Tensor] = list(target.parameters())
    onlines: list[Tensor] = list(online.parameters())
    if [p.shape for p in targets] != [p.shape for p in onlines]:
        raise ValueError("target and online network differ in their parameters' shapes")
    if targets and momentum < 1:
        torch._foreach_lerp_(targets, onlines, 1 - momentum)


def step_progress(step: int, total_steps: float) -> float:
    """How far step `step` (from 0) is on the way to the last of `total_steps`: 0 at the first, 1 at the last, never beyond.

    0 throughout when the run has no known end (`total_steps` infinite); 1 when it has a single step.
    """
    if math.isinf(total_steps):
        return 0.0
    if total_steps <= 1:
        return 1.0
    return min(max(step / (total_steps - 1), 0.0), 1.0)


def momentum_at(base: float, schedule: Literal["constant", "cosine"], progress: float) -> float:
    """m at `progress` in [0, 1]. constant: `base`. cosine: 1 - (1 - base)·(cos(π·progress) + 1) / 2 (BYOL, arXiv:2006.07733)."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2
