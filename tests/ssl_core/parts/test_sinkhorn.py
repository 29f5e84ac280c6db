"""Sinkhorn-Knopp: against lightly, by hand, and what makes it a fair sharing-out."""

import math

import pytest
import torch
from lightly.loss.swav_loss import sinkhorn as lightlys

from ssl_core.parts.sinkhorn import sinkhorn


def scores(n, k, seed):
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize(("n", "k"), [(2, 3), (5, 5), (16, 4), (33, 64)])
@pytest.mark.parametrize(("epsilon", "iterations"), [(0.05, 3), (0.5, 1), (0.1, 7)])
def test_equals_lightly(n, k, epsilon, iterations):
    for seed in range(3):
        given = scores(n, k, seed)
        assert torch.allclose(sinkhorn(given, epsilon, iterations), lightlys(given, iterations, epsilon), atol=1e-12)


def test_by_hand():
    """exp(scores) = [[2, 1], [1, 1]]. Columns add up to 3 and 2: [[2/3, 1/2], [1/3, 1/2]]. Rows then to 7/6 and 5/6:
    [[4/7, 3/7], [2/5, 3/5]]."""
    given = torch.tensor([[math.log(2), 0.0], [0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[4 / 7, 3 / 7], [2 / 5, 3 / 5]], dtype=torch.float64)
    assert torch.allclose(sinkhorn(given, 1.0, 1), expected, atol=1e-12)


def test_rows_add_up_to_1_and_prototypes_are_shared_out_evenly():
    """Even where all images lie nearest to the same prototype."""
    given = scores(40, 8, 0)
    given[:, 3] += 1
    codes = sinkhorn(given, 0.1, 200)
    assert torch.allclose(codes.sum(dim=1), torch.ones(40, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(codes.sum(dim=0), torch.full((8,), 5.0, dtype=torch.float64), atol=1e-3)


def test_a_prototype_that_is_nearer_to_all_changes_nothing():
    given = scores(10, 6, 0)
    assert torch.allclose(sinkhorn(given + torch.arange(6) / 6, 0.1, 3), sinkhorn(given, 0.1, 3), atol=1e-9)


def test_images_in_another_order_keep_their_codes():
    given, order = scores(9, 4, 0), torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sinkhorn(given[order], 0.05, 3), sinkhorn(given, 0.05, 3)[order], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_small_epsilon_does_not_overflow(dtype):
    """exp(1 / 0.001) is far beyond float32; the codes are then the hard ones of distinct images."""
    given = (torch.eye(4) * 2 - 1).to(dtype)
    assert torch.equal(sinkhorn(given, 0.001, 3), torch.eye(4))


def test_carries_no_gradient():
    assert not sinkhorn(scores(4, 3, 0).requires_grad_(), 0.05, 3).requires_grad
