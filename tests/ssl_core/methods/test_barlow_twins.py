"""Barlow Twins: the correlation by hand, either way of computing it, properties, the step."""

import pytest
import torch
from lightly.loss import BarlowTwinsLoss

from ssl_core.methods.barlow_twins import barlow_twins_terms, standardise
from ssl_core.spec import BarlowTwinsConfig, BranchesConfig, HeadConfig, TrainSpec, ValidationError

BRANCHES = BranchesConfig(projector=HeadConfig(layers=3, norm="bn", hidden_dim=16, out_dim=24), target="shared", normalize=False)
CONFIG = BarlowTwinsConfig(branches=BRANCHES)


def outputs(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator, dtype=torch.float64) * 2 + 3 for _ in range(2)]


def correlation(a, b):
    """Of the columns of a with those of b, worked out one by one."""
    rows = [[torch.corrcoef(torch.stack([x, y]))[0, 1] for y in b.T] for x in a.T]
    return torch.stack([torch.stack(row) for row in rows])


class TestTerms:
    def test_by_hand(self):
        """Columns x = (1, -1, 1, -1) and y = (1, 1, -1, -1) are uncorrelated. a = (x, y), b = (x, x): C = [[1, 1], [0, 0]], so
        the diagonal lacks 0 and 1, and one other entry is 1. (The ε of 1e-5 below the root shifts the fifth digit.)"""
        x, y = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
        terms = barlow_twins_terms(torch.stack([x, y], dim=1), torch.stack([x, x], dim=1))
        assert [term.item() for term in terms] == pytest.approx([1, 1], abs=1e-4)

    @pytest.mark.parametrize(("n", "d"), [(5, 9), (9, 5), (7, 7)])
    def test_are_those_of_the_matrix_whichever_product_is_made(self, n, d):
        a, b = outputs(n, d)
        c = correlation(a, b)
        terms = barlow_twins_terms(a, b)
        assert terms.invariance.item() == pytest.approx((1 - c.diagonal()).square().sum().item(), rel=1e-4)
        assert terms.redundancy.item() == pytest.approx(c[~torch.eye(d, dtype=torch.bool)].square().sum().item(), rel=1e-4)

    def test_columns_are_standardised_over_the_batch(self):
        z = standardise(outputs(50, 4)[0])
        assert torch.allclose(z.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-9)
        assert torch.allclose(z.square().mean(0), torch.ones(4, dtype=torch.float64), atol=1e-4)


class TestProperties:
    def test_scale_and_shift_of_a_column_change_nothing(self):
        a, b = outputs(12, 6)
        scale, shift = torch.rand(6, dtype=torch.float64) + 0.5, torch.randn(6, dtype=torch.float64)
        for before, after in zip(barlow_twins_terms(a, b), barlow_twins_terms(a * scale + shift, b), strict=True):
            assert after.item() == pytest.approx(before.item(), abs=1e-4)

    def test_symmetric_in_views_images_and_columns(self):
        a, b = outputs(12, 6)
        rows, columns = torch.randperm(12), torch.randperm(6)
        for other in (barlow_twins_terms(b, a), barlow_twins_terms(a[rows][:, columns], b[rows][:, columns])):
            for before, after in zip(barlow_twins_terms(a, b), other, strict=True):
                assert after.item() == pytest.approx(before.item(), rel=1e-9)

    def test_equal_uncorrelated_views_cost_nothing_and_constant_ones_all(self):
        """A constant column has no correlation with anything: each costs 1."""
        z = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        assert [term.item() for term in barlow_twins_terms(z, z)] == pytest.approx([0, 0], abs=1e-4)
        constant = torch.ones(4, 5, requires_grad=True)
        terms = barlow_twins_terms(constant, constant)
        assert [term.item() for term in terms] == pytest.approx([5, 0], abs=1e-6)
        terms.invariance.backward()
        assert constant.grad.isfinite().all()

    def test_half_precision_is_computed_in_float32_under_autocast(self):
        a, b = (z.bfloat16() for z in outputs(64, 32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = barlow_twins_terms(a, b)
        for value, expected in zip(inside, barlow_twins_terms(a.double(), b.double()), strict=True):
            assert value.dtype == torch.float32 and value.item() == pytest.approx(expected.item(), rel=1e-4)


class TestStep:
    @pytest.mark.parametrize(("n", "seed"), [(2, 0), (16, 1), (40, 2)])
    def test_is_lightlys_loss_in_value_and_gradient(self, build, make_batch, n, seed):
        """In float64: of two images each column is ±1, and its gradient a small difference."""
        ours, theirs = build(CONFIG, seed=seed).double(), build(CONFIG, seed=seed).double()
        batch = make_batch(n=n, seed=seed)
        batch = batch._replace(views=tuple(view.double() for view in batch.views))
        loss = ours.training_step(batch, 0)
        expected = BarlowTwinsLoss()(*(theirs.branches.projector(theirs.branches.encoder(view)) for view in batch.views))
        for each in (loss, expected):
            each.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(mine.grad, other.grad, atol=1e-9, rtol=1e-6)

    def test_reported_parts_add_up(self, build, make_batch):
        method = build(CONFIG.changed(redundancy_weight=0.5))
        loss = method.training_step(make_batch(), 0)
        assert loss.item() == pytest.approx(
            (method.latest["loss_invariance"] + method.latest["loss_redundancy"]).item(), rel=1e-6
        )
        plain = build(CONFIG.changed(redundancy_weight=0.25))
        plain.training_step(make_batch(), 0)
        assert method.latest["loss_redundancy"].item() == pytest.approx(2 * plain.latest["loss_redundancy"].item(), rel=1e-5)

    def test_local_views_are_refused(self):
        body = {"data": {"source": "digits"}, "method": {"name": "barlow_twins"}, "augment": {"local_views": {"count": 1}}}
        with pytest.raises(ValidationError, match="barlow_twins compares two whole batches"):
            TrainSpec.model_validate(body)
