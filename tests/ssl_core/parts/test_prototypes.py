"""Prototypes of length 1 in both forms, the loss between assignments, and the entropies that show collapse."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from ssl_core.parts.prototypes import Prototypes, assignment_entropies, swapped_cross_entropy


def unit(n, d, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


class TestPrototypes:
    def test_in_the_forward_pass_they_are_torchs_weight_norm_with_a_gain_of_1(self):
        """Values and gradients of the direction."""
        ours = Prototypes(5, 7, norm="forward")
        theirs = weight_norm(nn.Linear(5, 7, bias=False))
        with torch.no_grad():
            theirs.parametrizations.weight.original0.fill_(1)
            theirs.parametrizations.weight.original1.copy_(ours.weight)
        x = unit(4, 5)
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
        for layer in (ours, theirs):
            layer(x).square().sum().backward()
        assert torch.allclose(ours.weight.grad, theirs.parametrizations.weight.original1.grad, atol=1e-5)

    @pytest.mark.parametrize("norm", ["forward", "stored"])
    def test_give_cosines(self, norm):
        prototypes = Prototypes(5, 7, norm=norm)
        x = unit(4, 5)
        expected = F.cosine_similarity(x.unsqueeze(1), prototypes.weight.unsqueeze(0), dim=2)
        assert torch.allclose(prototypes(x), expected, atol=1e-6)

    def test_stored_ones_are_taken_as_they_are_until_they_are_renormalised(self):
        prototypes = Prototypes(5, 7, norm="stored")
        x = unit(4, 5)
        before = prototypes(x)
        with torch.no_grad():
            prototypes.weight.mul_(3)
        assert torch.allclose(prototypes(x), 3 * before, atol=1e-5)
        prototypes.renormalise()
        assert torch.allclose(prototypes(x), before, atol=1e-6)

    def test_in_half_precision_cosines_are_float32(self):
        prototypes = Prototypes(64, 7, norm="forward")
        x = unit(4, 64)
        exact = prototypes(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(prototypes(x), exact)
            coarse = prototypes(x.bfloat16())
        assert coarse.dtype == torch.float32 and torch.allclose(coarse, exact, atol=1e-2)


class TestSwappedCrossEntropy:
    def test_by_hand(self):
        """One image, K = 2, τ = 1. Targets: a is (1, 0), b is (0, 1). Scores give a the odds 3 : 1, b 1 : 1, a local view 1 : 4.
        Pairs: a's target with b, -ln(1/2); with local, -ln(1/5); b's with a, -ln(1/4); with local, -ln(4/5). Their mean."""
        scores = [torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2), torch.tensor([[0.0, math.log(4)]])]
        targets = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
        expected = -(math.log(1 / 2) + math.log(1 / 5) + math.log(1 / 4) + math.log(4 / 5)) / 4
        assert swapped_cross_entropy(scores, targets, 1.0).item() == pytest.approx(expected, rel=1e-6)

    def test_a_view_is_not_told_its_own_target(self):
        """With two views, the gradient of a's scores comes from b's target alone."""
        scores = [unit(4, 6, seed).requires_grad_() for seed in range(2)]
        targets = [F.softmax(unit(4, 6, seed), dim=1) for seed in (5, 6)]
        swapped_cross_entropy(scores, targets, 0.1).backward()
        expected = (F.softmax(scores[0] / 0.1, dim=1) - targets[1]) / 0.1 / 4 / 2  # 4 images, 2 pairs
        assert torch.allclose(scores[0].grad, expected, atol=1e-5)

    def test_uniform_predictions_cost_ln_k_whatever_the_targets(self):
        targets = [F.softmax(10 * unit(4, 6, seed), dim=1) for seed in range(2)]
        assert swapped_cross_entropy([torch.zeros(4, 6)] * 3, targets, 0.1).item() == pytest.approx(math.log(6), rel=1e-6)


class TestEntropies:
    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (torch.eye(4), (0, 1)),  # every image has its own: what learning looks like
            (torch.eye(4)[[2, 2, 2, 2]], (0, 0)),  # all images have the same one
            (torch.full((4, 4), 0.25), (1, 1)),  # no image has any
            (torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]), (0.5, 1)),  # ln 2 of ln 4
            (torch.eye(100)[[3, 7]], (0, 1)),  # two images have no more than two
            (torch.eye(16)[[3, 3, 7, 7]], (0, 0.5)),  # four could have four: ln 2 of ln 4
        ],
    )
    def test_by_hand(self, rows, expected):
        assert [value.item() for value in assignment_entropies(rows)] == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("sharpness", [0.1, 1, 5, 50])
    @pytest.mark.parametrize("images", [1, 2, 9, 300])
    def test_usage_is_a_share(self, images, sharpness):
        rows = torch.softmax(sharpness * torch.randn(images, 50, generator=torch.Generator().manual_seed(images)), dim=1)
        entropy, usage = assignment_entropies(rows)
        assert -1e-6 <= entropy <= usage <= 1 + 1e-5, "the mean is at least as spread as the rows"
