"""Losses are computed in float32 or better, whatever the network runs in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 if it is in half precision, as it is otherwise; the gradient passes through."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def similarity_matrix(rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products (N, M) of `rows` (N, D) with `columns` (M, D), in float32 or better.

    Autocast is off here: a cosine of 0.98 in bfloat16 is good to 0.004, which a temperature of 0.07 turns into 0.06 of a logit,
    and the product is small beside the network's work.
    """
    with torch.autocast(rows.device.type, enabled=False):
        return at_least_float32(rows) @ at_least_float32(columns).T


def paired_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Inner products (N,) of the rows of `a` (N, D) with the rows of `b` (N, D), in float32 or better."""
    return (at_least_float32(a) * at_least_float32(b)).sum(dim=1)
