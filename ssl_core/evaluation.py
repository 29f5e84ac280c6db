"""Frozen features of held-out images, and the figures taken from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssl_core.augment import normalise
from ssl_core.data.store import ImageStore
from ssl_core.health import effective_rank, embedding_std
from ssl_core.probes import knn_accuracy, logistic_accuracy
from ssl_core.spec import EvaluateConfig

_BATCH = 256


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
        for indices in torch.split(torch.arange(len(store)), _BATCH):
            images = normalise(store.batch(indices).to(device), data.size, data.mean, data.std)
            features.append(encoder(images.contiguous(memory_format=torch.channels_last)).float().cpu())
        return torch.cat(features)
    finally:
        encoder.train(was_training)


def evaluate(encoder: nn.Module, data: EvaluationData, config: EvaluateConfig, device: torch.device) -> dict[str, float]:
    """embedding_std and effective_rank of the held-out images; with labels knn_top1 and linear_top1 (percent) as well."""
    if data.queries is None:
        return {}
    queries = extract(encoder, data.queries, data, device)
    figures = {"embedding_std": embedding_std(queries), "effective_rank": effective_rank(queries)}
    if data.bank is None or data.bank.labels is None or data.queries.labels is None:
        return figures
    bank_labels, labels = data.bank.labels, data.queries.labels
    bank = extract(encoder, data.bank, data, device)
    figures["knn_top1"] = knn_accuracy(bank, bank_labels, queries, labels, config.knn_k, config.knn_temperature)
    if config.linear == "logistic":
        figures["linear_top1"] = logistic_accuracy(bank, bank_labels, queries, labels)
    return figures
