"""Frozen features of held-out images, and the figures taken from them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from ssl_core.augment import make_views, normalise
from ssl_core.data.batches import EvalBatches
from ssl_core.data.store import ImageStore
from ssl_core.health import alignment, alpha_req, effective_rank, embedding_std, lidar, uniformity
from ssl_core.probes import knn_accuracy, logistic_accuracy
from ssl_core.spec import AugmentConfig, EvaluateConfig

_BATCH = 256
_ENOUGH = 64  # images for a rank that means something
_VIEWED = 512  # images of which two views are compared: enough for a mean, and a tenth of an evaluation's time


class NotFinite(ArithmeticError):
    """The embeddings hold infinities or NaN: the network has blown up, even where its loss, on normalised values, has not."""


@dataclass(frozen=True)
class EvaluationData:
    """bank: images of the training part; queries: held-out images. Either is None when there are no such images.

    augment: how the views are drawn whose alignment is measured; None: it is not. Always the same views.
    """

    bank: ImageStore | None
    queries: ImageStore | None
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: AugmentConfig | None = None


@torch.no_grad()
def extract(encoder: nn.Module, store: ImageStore, data: EvaluationData, device: torch.device) -> Tensor:
    """Features (N, dim) float32 on the CPU, in evaluation mode, with the training normalisation; the last batch is kept."""
    with _evaluating(encoder):
        features = []
        for batch in EvalBatches(store, _BATCH):
            images = normalise(batch.images.to(device), data.size, data.mean, data.std)
            features.append(_of(encoder, images))
        return torch.cat(features)


@torch.no_grad()
def extract_views(
    encoder: nn.Module, store: ImageStore, data: EvaluationData, augment: AugmentConfig, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Features (M, dim) of two views each of the first M images, at most _VIEWED; otherwise as `extract`."""
    pairs: list[tuple[Tensor, Tensor]] = []
    with _evaluating(encoder):
        for batch in islice(EvalBatches(store, _BATCH), _VIEWED // _BATCH):
            images, index = batch.images.to(device), batch.index.to(device)
            a, b, *_ = make_views(images, augment, data.size, data.mean, data.std, 0, 0, index)
            pairs.append((_of(encoder, a), _of(encoder, b)))
    first, second = zip(*pairs, strict=True)
    return torch.cat(first), torch.cat(second)


@contextmanager
def _evaluating(encoder: nn.Module) -> Iterator[None]:
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)


def _of(encoder: nn.Module, images: Tensor) -> Tensor:
    features: Tensor = encoder(images.contiguous(memory_format=torch.channels_last))
    return features.float().cpu()


def evaluate(encoder: nn.Module, data: EvaluationData, config: EvaluateConfig, device: torch.device) -> dict[str, float]:
    """Of the held-out images embedding_std, effective_rank, uniformity, alpha_req, alignment and lidar, which need no labels;
    with labels knn_top1 and linear_top1 (percent) as well.

    Where few images are held out, or none, those of the bank are looked at too: the rank of ten
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
    figures = {
        "embedding_std": embedding_std(spread),
        "effective_rank": effective_rank(spread),
        "uniformity": uniformity(spread),
        "alpha_req": alpha_req(spread),
    }
    if data.augment is not None:
        viewed = data.bank if few or data.queries is None else data.queries
        assert viewed is not None
        views = extract_views(encoder, viewed, data, data.augment, device)
        figures |= {"alignment": alignment(*views), "lidar": lidar(torch.stack(views, dim=1))}
    if held is None or bank is None or data.bank is None or data.queries is None:
        return figures
    bank_labels, labels = data.bank.labels, data.queries.labels
    if bank_labels is None or labels is None:
        return figures
    figures["knn_top1"] = knn_accuracy(bank, bank_labels, held, labels, config.knn_k, config.knn_temperature)
    if config.linear == "logistic":
        figures["linear_top1"] = logistic_accuracy(bank, bank_labels, held, labels)
    return figures
