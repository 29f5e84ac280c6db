"""Is it learning? Measures that need no labels, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize


def effective_rank(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv:2210.02885): exp of the entropy of the normalised singular values.

    features (N, d) float. Between 1 (all on one line) and min(N, d).
    """
    singular = torch.linalg.svdvals(features.double())
    share = singular / singular.sum().clamp_min(1e-12)
    entropy = -(share * (share + 1e-12).log()).sum()
    return float(entropy.exp())


def embedding_std(features: Tensor) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features, times √d.

    1 when the features are spread evenly over the sphere (each dimension then has 1/√d), 0 when they have collapsed to a
    point (Chen & He 2020, arXiv:2011.10566, figure 2). features (N, d).
    """
    unit = normalize(features.double(), dim=1)
    return float(unit.std(dim=0).mean() * math.sqrt(features.shape[1]))


@dataclass(frozen=True)
class Health:
    """A verdict (unknown, learning, warning, collapsed) and the reasons for it."""

    verdict: str
    reasons: list[str]


def judge(history: Sequence[Mapping[str, float]], began_with: str = "random weights") -> Health:
    """Judge the evaluations so far, oldest first, each with embedding_std, effective_rank and perhaps knn_top1.

    The first is that of the weights that training began with, `began_with` in words.
    """
    if len(history) < 2:
        return Health("unknown", ["no evaluation since training began"])
    start, now = history[0], history[-1]
    reasons: list[str] = []
    if now["effective_rank"] < 2 or now["embedding_std"] < 0.02:
        # A network that still tells classes apart better than random weights has shrunk, not collapsed.
        verdict = "warning" if now.get("knn_top1", 0.0) > start.get("knn_top1", 0.0) else "collapsed"
        spread = f"std × √d is {now['embedding_std']:.3f} (evenly spread: 1), effective rank {now['effective_rank']:.1f}"
        return Health(verdict, [f"all images have nearly the same embedding: {spread}"])
    verdict = "learning"
    if now["effective_rank"] < 0.5 * max(each["effective_rank"] for each in history):
        verdict = "warning"
        reasons.append(f"effective rank fell to {now['effective_rank']:.1f}, less than half of its best")
    if "knn_top1" in now and "knn_top1" in start:
        difference = now["knn_top1"] - start["knn_top1"]
        reasons.append(f"kNN {now['knn_top1']:.1f} %, {began_with} {start['knn_top1']:.1f} %")
        if difference <= 0 and len(history) > 2:
            verdict = "warning"
    elif not reasons:
        reasons.append(f"embeddings are spread: effective rank {now['effective_rank']:.1f}, std × √d {now['embedding_std']:.2f}")
    return Health(verdict, reasons)
