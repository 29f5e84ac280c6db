"""VICReg: the three terms by hand and against lightly, the two variance conventions, properties."""

import math

import pytest
import torch
from lightly.loss import VICRegLoss

from ssl_core.methods.vicreg import covariance_penalty, variance_hinge, vicreg_terms
from ssl_core.spec import BranchesConfig, HeadConfig, VICRegConfig

BRANCHES = BranchesConfig(projector=HeadConfig(layers=3, norm="bn", hidden_dim=16, out_dim=24), target="shared", normalize=False)


def outputs(n, d, seed, scale=0.7):
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, d, generator=generator, dtype=torch.float64) * scale for _ in range(2))
    return a.requires_grad_(), b.requires_grad_()


def total(terms, weights=(25.0, 25.0, 1.0)):
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))


class TestTerms:
    @pytest.mark.parametrize(("n", "d"), [(2, 3), (16, 4), (8, 8), (7, 40), (64, 64)])
    def test_equal_lightly_in_value_and_gradient(self, n, d):
        for seed in range(3):
            ours, theirs = outputs(n, d, seed), outputs(n, d, seed)
            loss, expected = total(vicreg_terms(*ours)), VICRegLoss()(*theirs)
            loss.backward()
            expected.backward()
            assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
            for x, y in zip(ours, theirs, strict=True):
                assert torch.allclose(x.grad, y.grad, atol=1e-9)

    def test_invariance_by_hand(self):
        """Differences (1, 0), (0, 2): (1 + 4) / 4."""
        a, b = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, 2)
        assert vicreg_terms(a, b).invariance.item() == pytest.approx(1.25)

    def test_variance_by_hand(self):
        """Columns ±0.5 (variance 0.5, so 1 - √0.5) and ±2 (variance 8, beyond the hinge): the mean over the two columns."""
        z = torch.tensor([[0.5, 2.0], [-0.5, -2.0]])
        assert variance_hinge(z, 0.0).item() == pytest.approx((1 - math.sqrt(0.5)) / 2)
        assert variance_hinge(torch.zeros(4, 3), 1e-4).item() == pytest.approx(1 - 0.01)

    def test_covariance_by_hand(self):
        """Columns (1, -1) and (2, -2): covariance (1 · 2 + 1 · 2) / 1 = 4; two off-diagonal squares of 16 over D = 2: 16."""
        assert covariance_penalty(torch.tensor([[1.0, 2.0], [-1.0, -2.0]])).item() == pytest.approx(16.0)

    @pytest.mark.parametrize(("n", "d"), [(5, 9), (9, 5), (7, 7)])
    def test_covariance_is_that_of_the_matrix_whichever_product_is_made(self, n, d):
        z = outputs(n, d, 0)[0]
        matrix = torch.cov(z.T)
        expected = matrix[~torch.eye(d, dtype=torch.bool)].square().sum() / d
        assert covariance_penalty(z).item() == pytest.approx(expected.item(), rel=1e-10)


class TestVarianceConventions:
    def test_reference_is_twice_the_paper(self):
        a, b = outputs(32, 8, 0)
        paper, reference = vicreg_terms(a, b), vicreg_terms(a, b, variance_term="reference")
        assert reference.variance.item() == pytest.approx(2 * paper.variance.item(), rel=1e-12)
        assert reference.invariance == paper.invariance and reference.covariance == paper.covariance

    def test_the_default_is_the_paper(self, build, make_batch):
        assert VICRegConfig().variance_term == "paper"
        losses = {}
        for term in ("paper", "reference"):
            method = build(VICRegConfig(branches=BRANCHES, variance_term=term))
            losses[term] = method.training_step(make_batch(), 0).item(), method.latest["loss_variance"].item()
        assert losses["reference"][0] - losses["paper"][0] == pytest.approx(losses["paper"][1], rel=1e-4)

    def test_the_step_is_lightlys_loss(self, build, make_batch):
        method = build(VICRegConfig(branches=BRANCHES))
        batch = make_batch(n=16)
        a, b = (method.branches.projector(method.branches.encoder(view)) for view in batch.views)
        assert method.training_step(batch, 0).item() == pytest.approx(VICRegLoss()(a, b).item(), rel=1e-5)


class TestProperties:
    def test_symmetric_in_views_images_and_columns(self):
        a, b = outputs(12, 6, 0)
        rows, columns = torch.randperm(12), torch.randperm(6)
        expected = total(vicreg_terms(a, b)).item()
        assert total(vicreg_terms(b, a)).item() == pytest.approx(expected, rel=1e-12)
        assert total(vicreg_terms(a[rows][:, columns], b[rows][:, columns])).item() == pytest.approx(expected, rel=1e-12)

    def test_a_common_shift_changes_nothing(self):
        a, b = outputs(12, 6, 0)
        shift = torch.randn(6, dtype=torch.float64)
        for before, after in zip(vicreg_terms(a, b), vicreg_terms(a + shift, b + shift), strict=True):
            assert after.item() == pytest.approx(before.item(), rel=1e-9)

    def test_spread_uncorrelated_equal_views_cost_nothing(self):
        """Orthogonal columns of deviation above 1."""
        z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * 2
        assert [term.item() for term in vicreg_terms(z, z)] == pytest.approx([0, 0, 0], abs=1e-6)

    def test_half_precision_is_computed_in_float32_under_autocast(self):
        a, b = (z.detach().bfloat16() for z in outputs(64, 32, 0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = vicreg_terms(a, b)
        for value, expected in zip(inside, vicreg_terms(a.double(), b.double()), strict=True):
            assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-4)


class TestStep:
    def test_reported_parts_carry_their_weights_and_add_up(self, build, make_batch):
        method = build(VICRegConfig(branches=BRANCHES, invariance_weight=7.0, variance_weight=3.0, covariance_weight=0.5))
        loss = method.training_step(make_batch(), 0)
        parts = [method.latest[f"loss_{name}"].item() for name in ("invariance", "variance", "covariance")]
        assert loss.item() == pytest.approx(sum(parts), rel=1e-5)
        a, b = (method.branches.query(view).query for view in make_batch().views)
        assert parts == pytest.approx([w * t.item() for w, t in zip((7.0, 3.0, 0.5), vicreg_terms(a, b), strict=True)], rel=1e-4)

    def test_gradient_flows_through_both_views(self, build, make_batch):
        method = build(VICRegConfig(branches=BRANCHES))
        views = tuple(view.clone().requires_grad_() for view in make_batch().views)
        method.training_step(make_batch()._replace(views=views), 0).backward()
        assert all(view.grad.abs().sum() > 0 for view in views)
        assert method.serving_encoder() is method.branches.encoder
