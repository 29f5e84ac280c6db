"""Decoupled contrastive learning: by hand, its weights, the gradient that does not vanish, the option of SimCLR."""

import math

import pytest
import torch
from lightly.loss import DCLLoss
from pydantic import ValidationError

from ssl_core.methods.simclr import two_view_similarities
from ssl_core.parts.decoupled import decoupled_cross_entropy, mises_fisher_weights
from ssl_core.parts.pair_loss import cross_entropy
from ssl_core.spec import BranchesConfig, HeadConfig, SimCLRConfig

BRANCHES = BranchesConfig(projector=HeadConfig(hidden_dim=16, out_dim=8), target="shared")


class TestLoss:
    def test_by_hand(self):
        """s⁺ = 1 beside 0 and 0.5, T = 0.5: -2 + log(e⁰ + e¹). InfoNCE has e² in the sum as well."""
        row, label = torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([1])
        assert decoupled_cross_entropy(row, label, 0.5).item() == pytest.approx(-2 + math.log(1 + math.e), rel=1e-6)
        assert cross_entropy(row, label, 0.5).item() == pytest.approx(-2 + math.log(1 + math.e + math.exp(2)), rel=1e-6)

    def test_the_positive_always_pulls_as_hard(self):
        """Its gradient is -1/T per row however easy it is to find; that of InfoNCE fades (the paper's coupling)."""
        for positive in (0.0, 0.9, 5.0):
            row = torch.tensor([[positive, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
            decoupled_cross_entropy(row, torch.tensor([0]), 0.1).backward()
            assert row.grad[0].tolist() == pytest.approx([-10, 5, 5])
        row.grad = None
        cross_entropy(row, torch.tensor([0]), 0.1).backward()
        assert abs(row.grad[0, 0].item()) < 1e-9

    def test_half_precision_is_finite_and_float32(self):
        row = torch.tensor([[1.0, -1.0, 0.3]], dtype=torch.float16, requires_grad=True)
        loss = decoupled_cross_entropy(row, torch.tensor([0]), 0.01)
        loss.backward()
        assert loss.dtype == torch.float32 and loss.isfinite() and row.grad.isfinite().all()


class TestWeights:
    def test_by_hand(self):
        """σ = 0.5 and similarities 0 and 1: exp gives 1 and e², mean (1 + e²)/2."""
        mean = (1 + math.e**2) / 2
        weights = mises_fisher_weights(torch.tensor([[0.0, 1.0]]), 0.5)
        assert weights[0].tolist() == pytest.approx([2 - 1 / mean, 2 - math.e**2 / mean], rel=1e-6)

    def test_average_one_in_each_direction_and_fall_with_similarity(self):
        similarities = torch.rand(2, 9).sort(dim=1).values
        weights = mises_fisher_weights(similarities.requires_grad_(), 0.5)
        assert torch.allclose(weights.mean(dim=1), torch.ones(2), atol=1e-6)
        assert (weights.diff(dim=1) < 0).all() and not weights.requires_grad
        assert torch.allclose(mises_fisher_weights(similarities[:1], 0.5), weights[:1])


class TestOption:
    @pytest.mark.parametrize("negatives", ["nt_xent", "cross_view"])
    @pytest.mark.parametrize("decoupled", ["dcl", "dclw"])
    def test_is_what_the_step_computes(self, build, make_batch, negatives, decoupled):
        config = SimCLRConfig(branches=BRANCHES, negatives=negatives, decoupled=decoupled)
        batch = make_batch()
        twin = build(config).branches
        a, b = (twin.query(view).query for view in batch.views)
        weights = None
        if decoupled == "dclw":
            scores = ((a * b).sum(1) / 0.5).exp()
            weights = (2 - 8 * scores / scores.sum()).detach()
        if negatives == "nt_xent":
            both = None if weights is None else weights.repeat(2)
            expected = decoupled_cross_entropy(*two_view_similarities(a, b, a, b), 0.2, both)
        else:
            labels = torch.arange(8)
            expected = sum(decoupled_cross_entropy(s, labels, 0.2, weights) for s in (a @ b.T, b @ a.T))
        assert build(config).training_step(batch, 0).item() == pytest.approx(expected.item(), abs=1e-5)

    def test_dcl_is_lightlys(self, build, make_batch):
        config, batch = SimCLRConfig(branches=BRANCHES, decoupled="dcl"), make_batch()
        twin = build(config).branches
        expected = DCLLoss(temperature=0.2)(*(twin.query(view).projection for view in batch.views))
        assert build(config).training_step(batch, 0).item() == pytest.approx(expected.item(), abs=1e-5)

    @pytest.mark.parametrize("loss", [{"kind": "bce"}, {"kind": "ip"}, {"kind": "ce", "eqco_alpha": 64}])
    def test_needs_plain_cross_entropy(self, loss):
        with pytest.raises(ValidationError, match=r"decoupled = 'dcl' changes what cross-entropy divides by"):
            SimCLRConfig.model_validate({"loss": loss, "decoupled": "dcl"})
        assert SimCLRConfig.model_validate({"loss": loss}).decoupled == "off"
