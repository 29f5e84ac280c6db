"""Accuracies by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import confusion_matrix, top_k_accuracy_score

from ssl_core.probing.score import confusion, ranks, scores, top_k


def test_by_hand() -> None:
    """Four pictures of three classes. Right answers: the second (rank 0) and the fourth (rank 0); the first is second (1),
    the third is last (2)."""
    logits = torch.tensor([[0.2, 0.9, 0.1], [0.0, 0.5, 0.3], [0.1, 0.2, 0.3], [0.0, -1.0, 2.0]])
    labels = torch.tensor([0, 1, 0, 2])
    assert ranks(logits, labels).tolist() == [1, 0, 2, 0]
    assert [top_k(logits, labels, k) for k in (1, 2, 3)] == [50.0, 75.0, 100.0]
    found = scores(logits, labels, ("a", "b", "c"))
    assert found["confusion"] == [[0, 1, 1], [0, 1, 0], [0, 0, 1]]
    assert found["per_class"] == [
        {"class": "a", "images": 2, "top1": 0.0},
        {"class": "b", "images": 1, "top1": 100.0},
        {"class": "c", "images": 1, "top1": 100.0},
    ]
    assert (found["top1"], found["top5"]) == (50.0, None), "of three classes every answer is among five"


def test_like_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(500, 12)), generator.integers(0, 11, 500)  # class 11 never occurs
    given = torch.from_numpy(logits), torch.from_numpy(labels)
    for k in (1, 3, 5):
        expected = 100 * top_k_accuracy_score(labels, logits, k=k, labels=np.arange(12))
        assert abs(top_k(*given, k) - expected) < 1e-9
    found = scores(*given, [str(each) for each in range(12)])
    assert found["confusion"] == confusion_matrix(labels, logits.argmax(1), labels=np.arange(12)).tolist()
    assert found["per_class"][11] == {"class": "11", "images": 0, "top1": None}
    assert abs(found["top5"] - top_k(*given, 5)) < 1e-9


def test_of_equal_logits_the_lower_class_comes_first() -> None:
    """So a network that says nothing is right about class 0 alone, on every device."""
    labels = torch.arange(6)
    assert ranks(torch.zeros(6, 6), labels).tolist() == [0, 1, 2, 3, 4, 5]


def test_confusion_keeps_every_picture() -> None:
    predicted, labels = torch.randint(0, 4, (2, 100), generator=torch.Generator().manual_seed(1))
    table = confusion(predicted, labels, 5)
    assert table.sum() == 100 and table.shape == (5, 5) and table[4].sum() == 0
    assert torch.equal(table.sum(1), torch.bincount(labels, minlength=5))
