"""SimCLR: NT-Xent against lightly and by hand, cross-view negatives, EqCo."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from ssl_core.methods.simclr import cross_view_similarities, two_view_similarities
from ssl_core.parts.pair_loss import cross_entropy
from ssl_core.spec import BranchesConfig, ContrastLossConfig, HeadConfig, SimCLRConfig


def outputs(n, d, seed, normalize=True):
    generator = torch.Generator().manual_seed(seed)
    pair = [torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(2)]
    return [(F.normalize(z, dim=1) if normalize else z).requires_grad_() for z in pair]


def nt_xent(a, b, temperature):
    return cross_entropy(*two_view_similarities(a, b, a, b), temperature)


class TestNTXent:
    @pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 8), (16, 4), (33, 64)])
    @pytest.mark.parametrize("temperature", [0.07, 0.5])
    def test_equals_lightly_in_value_and_gradient(self, n, d, temperature):
        for seed in range(3):
            a, b = outputs(n, d, seed, normalize=False)  # lightly normalises inside
            again = [z.detach().clone().requires_grad_() for z in (a, b)]
            ours = nt_xent(F.normalize(a, dim=1), F.normalize(b, dim=1), temperature)
            theirs = NTXentLoss(temperature=temperature)(*again)
            ours.backward()
            theirs.backward()
            assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
            assert torch.allclose(a.grad, again[0].grad, atol=1e-6)
            assert torch.allclose(b.grad, again[1].grad, atol=1e-6)

    def test_by_hand(self):
        """Two images, views a = (e1, e2), b = (e1, e2), T = 1: every view has a positive with similarity 1 and 2N - 2 = 2
        negatives with similarity 0, so the loss is -log(e / (e + 2))."""
        z = torch.eye(2)
        similarities, labels = two_view_similarities(z, z, z, z)
        assert similarities.shape == (4, 3)  # 1 positive and 2N - 2 negatives
        assert similarities.gather(1, labels.unsqueeze(1)).eq(1).all() and similarities.sum() == 4
        assert nt_xent(z, z, 1.0).item() == pytest.approx(-math.log(math.e / (math.e + 2)), rel=1e-6)

    def test_symmetric_in_the_views_and_in_the_images(self):
        a, b = outputs(9, 5, 0)
        order = torch.randperm(9)
        expected = nt_xent(a, b, 0.2).item()
        assert nt_xent(b, a, 0.2).item() == pytest.approx(expected, rel=1e-12)
        assert nt_xent(a[order], b[order], 0.2).item() == pytest.approx(expected, rel=1e-12)
        assert nt_xent(a, b[order], 0.2).item() != pytest.approx(expected, rel=1e-3)  # it does matter who belongs to whom

    def test_the_offset_picks_this_ranks_rows_of_all_keys(self):
        """Rows 4 to 6 of the whole matrix are what a rank with those images sees."""
        a, b = outputs(9, 5, 0)
        whole, labels = two_view_similarities(a, b, a, b)
        part, part_labels = two_view_similarities(a[4:7], b[4:7], a, b, offset=4)
        rows = torch.tensor([4, 5, 6, 13, 14, 15])
        assert torch.allclose(part, whole[rows]) and torch.equal(part_labels, labels[rows])


class TestCrossView:
    def test_has_one_positive_and_the_others_second_views_only(self):
        """N - 1 negatives where NT-Xent has 2N - 2."""
        a, b = outputs(6, 4, 0)
        similarities, labels = cross_view_similarities(a, b)
        assert similarities.shape == (6, 6)
        assert torch.allclose(similarities, a @ b.T) and torch.equal(labels, torch.arange(6))
        assert cross_view_similarities(a[2:4], b, offset=2)[1].tolist() == [2, 3]


class TestStep:
    @pytest.mark.parametrize("target", ["shared", "ema"])
    def test_nt_xent_is_the_default_and_is_what_the_step_computes(self, build, make_batch, target):
        branches = BranchesConfig(target=target, projector=HeadConfig(out_dim=8), predictor=HeadConfig(layers=1, out_dim=8))
        method = build(SimCLRConfig(branches=branches))
        batch = make_batch()
        queries = [method.branches.query(view).query for view in batch.views]
        keys = [method.branches.key(view) for view in batch.views]
        every = torch.cat(queries) @ torch.cat(keys).T / 0.2
        every = every.masked_fill(torch.eye(16, dtype=torch.bool), -math.inf)
        expected = F.cross_entropy(every, torch.arange(16).roll(8))
        assert method.training_step(batch, 0).item() == pytest.approx(expected.item(), abs=1e-5)

    def test_gradient_flows_through_both_sides(self, build, make_batch):
        """Dropping it on the keys gives another gradient."""
        batch = make_batch()
        config = SimCLRConfig(branches=BranchesConfig(target="shared", projector=HeadConfig(out_dim=8)), negatives="cross_view")
        method = build(config.changed(symmetric=False))
        method.training_step(batch, 0).backward()
        got = method.branches.encoder[0].weight.grad.clone()
        for detached in (False, True):
            method.zero_grad()
            q, k = (method.branches.query(view).query for view in batch.views)
            F.cross_entropy(q @ (k.detach() if detached else k).T / 0.2, torch.arange(8)).backward()
            assert torch.allclose(got, method.branches.encoder[0].weight.grad, atol=1e-6) is not detached

    def test_both_directions_are_summed_for_cross_view(self, build, make_batch):
        config = SimCLRConfig(branches=BranchesConfig(target="shared"), negatives="cross_view", symmetric=False)
        batch = make_batch()
        one = build(config).training_step(batch, 0)
        other = build(config).training_step(batch._replace(views=batch.views[::-1]), 0)
        both = build(config.changed(symmetric=True)).training_step(batch, 0)
        assert both.item() == pytest.approx((one + other).item(), abs=1e-5)

    @pytest.mark.parametrize(("negatives", "count"), [("nt_xent", 14), ("cross_view", 8)])
    def test_eqco_counts_the_negatives(self, build, make_batch, negatives, count):
        """With alpha equal to the count (2N - 2; N for cross_view, as the reference has it) the margin is 0."""
        config = SimCLRConfig(branches=BranchesConfig(target="shared"), negatives=negatives)
        plain = build(config).training_step(make_batch(), 0).item()
        for alpha, same in ((count, True), (2 * count, False)):
            margin = config.changed(loss=ContrastLossConfig(eqco_alpha=alpha))
            assert (build(margin).training_step(make_batch(), 0).item() == pytest.approx(plain, abs=1e-6)) is same
