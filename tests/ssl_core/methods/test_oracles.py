"""Every loss equals an independent implementation of it, in value and gradient, at several shapes and seeds."""

import pytest
import torch

from support.comparing import SEEDS, SHAPES, compare
from support.oracles import ORACLES


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("name", ORACLES)
def test_equals_its_oracle(name, n, d, seed):
    errors = ORACLES[name](n, d, seed)
    assert errors.value < 1e-9 and errors.gradient < 1e-9


def test_a_comparison_sees_a_wrong_value_and_a_wrong_gradient():
    """x² and 2x at x = 2: equal there, but the slopes are 4 and 2; x² and x² + 1: the other way round."""
    x = [torch.tensor([2.0], dtype=torch.float64)]
    assert compare(lambda x: x**2, lambda x: 2 * x, x) == (0, 2)
    assert compare(lambda x: x**2, lambda x: x**2 + 1, x) == (1, 0)
    assert compare(lambda x: x**2, lambda x: x.detach() ** 2 + 0 * x, x) == (0, 4)
