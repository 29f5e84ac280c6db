"""kNN against lightly, and what probes must not care about."""

import pytest
import torch
from lightly.utils.benchmarking import knn_predict as lightly_knn
from torch.nn.functional import normalize

from ssl_core.probes import knn_accuracy, knn_predict, logistic_accuracy


@pytest.mark.parametrize(
    ("bank", "queries", "dim", "classes", "k"), [(50, 20, 8, 3, 5), (200, 1500, 16, 10, 20), (30, 7, 4, 2, 30)]
)
def test_knn_agrees_with_lightly(bank: int, queries: int, dim: int, classes: int, k: int) -> None:
    generator = torch.Generator().manual_seed(bank)
    features = normalize(torch.randn(bank, dim, generator=generator), dim=1)
    labels = torch.randint(classes, (bank,), generator=generator)
    asked = normalize(torch.randn(queries, dim, generator=generator), dim=1)
    ours = knn_predict(features, labels, asked, classes, k, 0.1)
    theirs = lightly_knn(asked, features.T, labels, num_classes=classes, knn_k=k, knn_t=0.1)[:, 0]
    assert (ours == theirs).float().mean() == 1.0


def test_knn_does_not_care_about_scale_or_order() -> None:
    generator = torch.Generator().manual_seed(0)
    bank, labels = torch.randn(100, 8, generator=generator), torch.randint(4, (100,), generator=generator)
    queries, truth = torch.randn(40, 8, generator=generator), torch.randint(4, (40,), generator=generator)
    order = torch.randperm(100, generator=generator)
    assert knn_accuracy(bank, labels, queries, truth) == knn_accuracy(7 * bank[order], labels[order], 3 * queries, truth)


def test_separable_classes_are_found_and_noise_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(4, 16, generator=generator)
    labels = torch.arange(4).repeat(50)
    features = centres[labels] + torch.randn(200, 16, generator=generator)
    assert knn_accuracy(features, labels, features, labels) > 95
    assert logistic_accuracy(features, labels, features, labels) > 95
    noise = torch.randn(200, 16, generator=generator)
    assert knn_accuracy(noise[:100], labels[:100], noise[100:], labels[100:]) < 60


def test_more_neighbours_than_images() -> None:
    labels = torch.tensor([0, 1, 1])
    assert knn_accuracy(torch.eye(3), labels, torch.eye(3), labels, k=20) == 100.0
