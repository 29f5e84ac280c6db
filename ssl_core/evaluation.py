"""Frozen features of held-out images, and the figures taken from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_core.augment import normalise
from ssl_core.data.batches import EvalBatches
from ssl_core.data.store import ImageStore
from ssl_core.health import effective_rank, embedding_std
from ssl_core.probes import knn_accuracy, logistic_accuracy
from ssl_core.spec import EvaluateConfig

_BATCH = 256
_ENOUGH = 64  # images for a rank that means something


class NotFinite(ArithmeticError):
    """The embeddings hold infinities or NaN: the network has blown up, even where its loss, on normalised values, has not."""


@dataclass(frozen=True)
class EvaluationData:
    """bank: images of the training part; queries: held-out images. Either is None when there are no such images."""

    bank: ImageStore | None
    queries: ImageStore | None
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@torch.no_grad()
def extract(encoder: nn.Module, store: ImageStore, data: EvaluationData, device: torch.device) -> Tensor:
    """Features (N, dim) float32 on the CPU, in evaluation mode, with the training normalisation; the last batch is kept."""
    was_training = encoder.training
    encoder.eval()
    try:
        features = []
        for batch in EvalBatches(store, _BATCH):
            images = normalise(batch.images.to(device), data.size, data.mean, data.std)
            features.append(encoder(images.contiguous(memory_format=torch.channels_last)).float().cpu())
        return torch.cat(features)
    finally:
        encoder.train(was_training)


def evaluate(encoder: nn.Module, data: EvaluationData, config: EvaluateConfig, device: torch.device) -> dict[str, float]:
    """embedding_std and effective_rank of the held-out images; with labels knn_top1 and linear_top1 (percent) as well.

    The first two need no labels. Where few images are held out, or none, those of the bank are looked at too: the rank of ten
    images says nothing. Raises NotFinite.
    """
    held = None if data.queries is None else extract(encoder, data.queries, data, device)
    few = held is None or len(held) < _ENOUGH
    labelled = held is not None and data.bank is not None and data.bank.labels is not None
    bank = extract(encoder, data.bank, data, device) if data.bank is not None and (few or labelled) else None
    shown = [each for each in ((bank, held) if few else (held,)) if each is not None]
    if not shown:
        return {}
    spread = torch.cat(shown)
    if not bool(spread.isfinite().all()):
        raise NotFinite("the embeddings are not finite numbers")
    figures = {"embedding_std": embedding_std(spread), "effective_rank": effective_rank(spread)}
    if held is None or bank is None or data.bank is None or data.queries is None:
        return figures
    bank_labels, labels = data.bank.labels, data.queries.labels
    if bank_labels is None or labels is None:
        return figures
    figures["knn_top1"] = knn_accuracy(bank, bank_labels, held, labels, config.knn_k, config.knn_temperature)
    if config.linear == "logistic":
        figures["linear_top1"] = logistic_accuracy(bank, bank_labels, held, labels)
    return figures
