"""kNN against lightly, measures against hand-worked values, and their invariances."""

import math

import pytest
import torch
from lightly.utils.benchmarking import knn_predict as lightly_knn
from torch.nn.functional import normalize

from ssl_core.health import effective_rank, embedding_std, judge
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


def test_effective_rank_by_hand() -> None:
    """n equal singular values have entropy log n, so the rank is n; on one line it is 1."""
    assert effective_rank(torch.eye(6)) == pytest.approx(6.0, rel=1e-6)
    assert effective_rank(torch.ones(20, 6)) == pytest.approx(1.0, abs=1e-4)
    # singular values 3 and 1: shares 3/4 and 1/4
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_is_invariant_to_rotation_and_scale() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0]
    assert effective_rank(5 * features @ rotation) == pytest.approx(effective_rank(features), rel=1e-4)


def test_embedding_std_tells_spread_from_collapse() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(4000, 32, generator=generator)
    assert embedding_std(spread) == pytest.approx(1.0, abs=0.02)
    assert embedding_std(torch.ones(100, 32) + 1e-4 * torch.randn(100, 32, generator=generator)) < 0.01


def test_verdicts() -> None:
    def figures(rank: float, std: float, knn: float) -> dict[str, float]:
        return {"effective_rank": rank, "embedding_std": std, "knn_top1": knn}

    start = figures(10, 0.3, 40)
    assert judge([start]).verdict == "unknown"
    assert judge([start, figures(30, 0.8, 70)]).verdict == "learning"
    assert judge([start, figures(1.1, 0.001, 10)]).verdict == "collapsed"
    assert judge([start, figures(40, 0.8, 60), figures(15, 0.5, 60)]).verdict == "warning"
    assert judge([start, figures(40, 0.8, 30), figures(41, 0.8, 30)]).verdict == "warning"
    assert judge([start, figures(1.1, 0.01, 55)]).verdict == "warning", "it tells classes apart: no collapse"
    unlabelled = [{"effective_rank": 10.0, "embedding_std": 0.3}, {"effective_rank": 30.0, "embedding_std": 0.8}]
    assert judge(unlabelled).verdict == "learning"
