"""Accuracies from logits. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TOP5_FROM = 6  # classes: with five, every answer is among the first five


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes come before the right one, int64 (N,): 0 is a correct answer.

    logits float (N, C), labels int64 (N,) in [0, C). Of equal logits the lower class comes first, on every device.
    """
    right = logits.gather(1, labels.unsqueeze(1))
    before = torch.arange(logits.shape[1], device=logits.device) < labels.unsqueeze(1)
    return ((logits > right) | ((logits == right) & before)).sum(1)


def top_k(logits: Tensor, labels: Tensor, k: int) -> float:
    """Percent of rows whose right class is among the k first."""
    return 100.0 * (ranks(logits, labels) < k).double().mean().item()


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """int64 (classes, classes): row the class that it is, column the class that was said. Both inputs int64 (N,)."""
    return torch.bincount(labels * classes + predicted, minlength=classes * classes).view(classes, classes)


def scores(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """The part of a result that is measured: top1, top5 (null below six classes), per_class, confusion. Percent."""
    count = len(classes)
    rank = ranks(logits, labels)
    table = confusion(torch.where(rank == 0, labels, logits.argmax(1)), labels, count)
    of = table.sum(1)
    per_class = [
        {"class": name, "images": int(all_), "top1": 100.0 * int(right) / int(all_) if all_ else None}
        for name, all_, right in zip(classes, of, table.diagonal(), strict=True)
    ]
    return {
        "top1": 100.0 * (rank == 0).double().mean().item(),
        "top5": 100.0 * (rank < 5).double().mean().item() if count >= TOP5_FROM else None,
        "per_class": per_class,
        "confusion": table.tolist(),
    }
