"""The logistic regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_core.probing.logistic import Standardised, fit_logistic


def digits(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    loaded = load_digits()
    chosen = loaded.target < classes
    return torch.from_numpy(loaded.data[chosen]), torch.from_numpy(loaded.target[chosen])


@pytest.mark.parametrize(("classes", "l2"), [(3, 1.0), (10, 1.0), (10, 100.0), (4, 0.1)])
def test_weights_are_scikit_learn_s(classes: int, l2: float) -> None:
    """Both are at the one minimum of a strictly convex function, ours to 1e-9, scikit-learn to 1e-8. Its biases are known up to a
    common shift."""
    raw, labels = digits(classes)
    features = Standardised.of(raw)(raw)
    weight, bias, iterations = fit_logistic(features, labels, classes, l2=l2, max_iterations=5000, tolerance=1e-9)
    expected = LogisticRegression(C=1 / l2, tol=1e-8, max_iter=10_000).fit(StandardScaler().fit_transform(raw), labels)
    assert 5 < iterations < 5000
    np.testing.assert_allclose(weight, expected.coef_, atol=2e-3)
    np.testing.assert_allclose(bias - bias.mean(), expected.intercept_ - expected.intercept_.mean(), atol=2e-3)


def test_two_classes_are_scikit_learn_s_at_half_the_strength() -> None:
    """Two vectors w₀ = -w₁ = -w/2 have ‖w₀‖² + ‖w₁‖² = ‖w‖²/2."""
    raw, labels = digits(2)
    features = Standardised.of(raw)(raw)
    weight, _, _ = fit_logistic(features, labels, 2, l2=1.0, max_iterations=5000, tolerance=1e-9)
    expected = LogisticRegression(C=2.0, tol=1e-8, max_iter=10_000).fit(features, labels)
    np.testing.assert_allclose((weight[1] - weight[0])[None], expected.coef_, atol=2e-3)
    np.testing.assert_allclose(weight.sum(0), torch.zeros(64), atol=1e-6)


def test_in_single_precision_it_predicts_the_same() -> None:
    raw, labels = digits(10)
    raw = raw.float()
    train, held = torch.arange(len(raw)) % 3 > 0, torch.arange(len(raw)) % 3 == 0
    scale = Standardised.of(raw[train])
    weight, bias, _ = fit_logistic(scale(raw[train]), labels[train], 10, l2=1.0, max_iterations=300)
    predicted = (scale(raw[held]) @ weight.T + bias).argmax(1)
    raw = raw.double()
    scaler = StandardScaler().fit(raw[train])
    expected = LogisticRegression(max_iter=1000, tol=1e-8).fit(scaler.transform(raw[train]), labels[train])
    assert (predicted.numpy() == expected.predict(scaler.transform(raw[held]))).mean() > 0.998


def test_what_report_raises_ends_it_and_iterations_are_bounded() -> None:
    raw, labels = digits(3)
    seen: list[int] = []

    def report(iteration: int, loss: float) -> None:
        seen.append(iteration)
        if iteration == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit_logistic(raw / 16, labels, 3, l2=1.0, max_iterations=100, report=report)
    assert seen == [1, 2, 3]
    assert fit_logistic(raw / 16, labels, 3, l2=1.0, max_iterations=4)[2] == 4


def test_a_constant_dimension_stays_finite() -> None:
    features = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    features[:, 1] = 7.0
    scaled = Standardised.of(features)(features)
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(features), atol=1e-6)
    assert scaled[:, 1].abs().max() == 0
