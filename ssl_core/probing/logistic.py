"""A multinomial logistic regression by L-BFGS, its sums on whatever device the features are.

    W, b = argmin  Σ cross-entropy(W·x + b, y) + l2/2 · ‖W‖²

which is scikit-learn's LogisticRegression with C = 1 / l2 for three classes and more (for two, scikit-learn has one vector
w = w₁ - w₀ and l2/2·‖w‖², which is twice as much: there C = 1 / l2 here is C = 2 / l2 there). The bias is not shrunk.

The solver is SciPy's, which scikit-learn calls too: torch.optim.LBFGS stops in its line search far from the minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

TOLERANCE = 1e-5  # of the mean loss: the largest partial derivative at the end; scikit-learn stops at 1e-4
_SOLVER = {"ftol": 64 * float(np.finfo(np.float64).eps), "maxls": 50}  # as scikit-learn calls it


@dataclass(frozen=True)
class Standardised:
    """Mean 0 and standard deviation 1 in every dimension of the features it was made of; a constant one stays."""

    mean: Tensor  # (d,)
    std: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardised:
        """features float (N, d)."""
        std, mean = torch.std_mean(features.double(), dim=0, correction=0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        return cls(mean.to(features.dtype), std.to(features.dtype))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std


def fit_logistic(
    features: Tensor,
    labels: Tensor,
    classes: int,
    *,
    l2: float,
    max_iterations: int,
    tolerance: float = TOLERANCE,
    report: Callable[[int, float], None] = lambda iteration, loss: None,
) -> tuple[Tensor, Tensor, int]:
    """(W (C, d), b (C,), iterations) for features float (N, d) and labels int64 (N,) in [0, C). Deterministic; begins at 0.

    `report(iteration, mean loss)` hears of each iteration; what it raises ends the work.
    """
    from scipy.optimize import minimize

    width = features.shape[1]

    def split(flat: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        both = torch.from_numpy(flat).to(features.device, features.dtype).view(classes, width + 1)
        return both[:, :width].contiguous(), both[:, width].contiguous()

    def loss_and_slopes(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = (part.requires_grad_() for part in split(flat))
        loss = cross_entropy(linear(features, weight, bias).double(), labels)
        loss = loss + l2 / (2 * len(features)) * weight.double().square().sum()
        slopes = torch.autograd.grad(loss, [weight, bias])
        joined = torch.cat([slopes[0], slopes[1].unsqueeze(1)], dim=1)
        return loss.item(), joined.double().flatten().cpu().numpy()

    iterations = 0

    def heard(intermediate_result: Any) -> None:  # SciPy looks at the parameter's name
        nonlocal iterations
        iterations += 1
        report(iterations, float(intermediate_result.fun))

    options = {**_SOLVER, "gtol": tolerance, "maxiter": max_iterations}
    start = np.zeros(classes * (width + 1))
    found = minimize(loss_and_slopes, start, jac=True, method="L-BFGS-B", callback=heard, options=options)
    return (*split(found.x), iterations)
