"""What frozen features are worth: weighted kNN and a logistic regression. Pure functions on features and labels."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    """Classes by the weighted vote of the k nearest neighbours (Wu et al. 2018, arXiv:1805.01978, section 3.4).

    bank (M, d) and queries (N, d): L2-normalised float features; bank_labels (M,) int64 in [0, classes).
    A neighbour with cosine similarity s weighs exp(s / temperature). Returns (N,) int64.
    """
    k = min(k, bank.shape[0])
    predictions = []
    for chunk in torch.split(queries, 1024):
        similarity, neighbour = (chunk @ bank.T).topk(k, dim=1)  # (n, k)
        weight = (similarity / temperature).exp()
        votes = torch.zeros(chunk.shape[0], classes, dtype=weight.dtype, device=weight.device)
        votes.scatter_add_(1, bank_labels[neighbour], weight)
        predictions.append(votes.argmax(1))
    return torch.cat(predictions)


def knn_accuracy(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, k: int = 20, temperature: float = 0.07
) -> float:
    """Top-1 accuracy in percent of `knn_predict` on raw (not yet normalised) features."""
    classes = int(max(bank_labels.max(), labels.max())) + 1
    bank = torch.nn.functional.normalize(bank.float(), dim=1)
    queries = torch.nn.functional.normalize(queries.float(), dim=1)
    predicted = knn_predict(bank, bank_labels, queries, classes, k, temperature)
    return 100.0 * (predicted == labels).double().mean().item()


def logistic_accuracy(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy in percent of a multinomial logistic regression (L-BFGS, C = 1) on standardised features.

    The mean and standard deviation are the bank's. Deterministic.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(torch.unique(bank_labels)) < 2:
        return 100.0 * (labels == bank_labels[0]).double().mean().item()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are enough to compare encoders
        model.fit(bank.float().cpu().numpy(), bank_labels.cpu().numpy())
    return 100.0 * float(model.score(queries.float().cpu().numpy(), labels.cpu().numpy()))
