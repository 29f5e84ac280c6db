"""BYOL: the loss question, the stop-gradient, the predictor, what is served."""

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from pydantic import ValidationError
from torch.nn import functional as F

from ssl_core.spec import BranchesConfig, BYOLConfig, ContrastLossConfig, HeadConfig

HEAD = HeadConfig(hidden_dim=16, out_dim=8, norm="bn")
BRANCHES = BranchesConfig(projector=HEAD, predictor=HEAD, momentum_schedule="cosine")


def gradient(method):
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


class TestTheLossQuestion:
    """loss_scale 2, the default: 2 - 2·mean⟨q,k⟩ = mean‖q - k‖², the paper's; 1: the reference's 1 - mean⟨q,k⟩, half of it."""

    @pytest.mark.parametrize("seed", range(3))
    def test_default_is_the_papers(self, build, make_batch, seed):
        method = build(BYOLConfig(branches=BRANCHES), seed=seed)
        assert method.config.loss_scale == 2
        batch = make_batch(n=16, seed=seed)
        squared = inner = 0.0
        for a, b in (batch.views, batch.views[::-1]):
            q, k = method.branches.query(a).query, method.branches.key(b)
            squared += (q - k).square().sum(dim=1).mean().item()
            inner += 2 - 2 * (q * k).sum(dim=1).mean().item()
        loss = method.training_step(batch, 0).item()
        assert loss == pytest.approx(squared, abs=2e-6) and loss == pytest.approx(inner, abs=2e-6)

    def test_scale_one_is_exactly_half_in_value_and_gradient(self, build, make_batch):
        values, gradients = [], []
        for scale in (1.0, 2.0):
            method = build(BYOLConfig(branches=BRANCHES, loss_scale=scale))
            loss = method.training_step(make_batch(), 0)
            loss.backward()
            values.append(loss.item())
            gradients.append(gradient(method))
        assert 2 * values[0] == values[1]
        assert torch.equal(2 * gradients[0], gradients[1])

    @pytest.mark.parametrize("n", [2, 8, 17])
    def test_one_direction_is_lightlys_negative_cosine_plus_one(self, build, make_batch, n):
        """Their -mean⟨q,k⟩ is our 1 - mean⟨q,k⟩, up to the constant; same gradient."""
        for seed in range(2):
            ours, theirs = (build(BYOLConfig(branches=BRANCHES, loss_scale=1.0, symmetric=False), seed=seed) for _ in range(2))
            batch = make_batch(n=n, seed=seed)
            loss = ours.training_step(batch, 0)
            loss.backward()
            raw = theirs.branches.predictor(theirs.branches.projector(theirs.branches.encoder(batch.views[0])))
            expected = NegativeCosineSimilarity()(raw, theirs.branches.key(batch.views[1]))
            expected.backward()
            assert loss.item() == pytest.approx(1 + expected.item(), abs=1e-5)
            assert torch.allclose(gradient(ours), gradient(theirs), atol=1e-5)


class TestGradient:
    def test_stops_at_the_target(self, build, make_batch):
        method = build(BYOLConfig(branches=BRANCHES))
        method.training_step(make_batch(), 0).backward()
        for name, parameter in method.named_parameters():
            assert (parameter.grad is None) is name.startswith("branches.target_"), name

    def test_is_that_of_constant_keys(self, build, make_batch):
        """The step's gradient equals the one with keys worked out beforehand, as plain numbers."""
        method = build(BYOLConfig(branches=BRANCHES))
        batch = make_batch()
        method.training_step(batch, 0).backward()
        got = gradient(method)
        method.zero_grad()
        keys = [method.branches.key(view).clone() for view in batch.views]
        queries = [method.branches.query(view).query for view in batch.views]
        (4 - 2 * (queries[0] * keys[1]).sum(1).mean() - 2 * (queries[1] * keys[0]).sum(1).mean()).backward()
        assert torch.allclose(got, gradient(method), atol=1e-6)

    def test_shared_target_has_gradient_on_both_sides(self, build, make_batch):
        """The reference without a lagging model: keys through the predictor, with gradient."""
        method = build(BYOLConfig(branches=BRANCHES.changed(target="shared"), symmetric=False))
        batch = make_batch()
        method.training_step(batch, 0).backward()
        got = gradient(method)
        method.zero_grad()
        q, k = (method.branches.query(view).query for view in batch.views)
        (2 - 2 * (q * k).sum(1).mean()).backward()
        assert torch.allclose(got, gradient(method), atol=1e-6)


class TestRest:
    def test_bce_on_the_positive_alone(self, build, make_batch):
        """softplus(-s/T), mean over images, both directions, times the scale."""
        method = build(BYOLConfig(branches=BRANCHES, loss=ContrastLossConfig(kind="bce", temperature=0.5)))
        batch = make_batch()
        expected = 0.0
        for a, b in (batch.views, batch.views[::-1]):
            similarity = (method.branches.query(a).query * method.branches.key(b)).sum(1)
            expected += 2 * F.softplus(-similarity / 0.5).mean().item()
        assert method.training_step(batch, 0).item() == pytest.approx(expected, abs=1e-5)

    def test_ce_is_refused_with_the_reason(self):
        with pytest.raises(ValidationError, match="BYOL has none"):
            BYOLConfig(loss=ContrastLossConfig(kind="ce"))

    def test_serves_the_online_encoder(self, build):
        method = build(BYOLConfig(branches=BRANCHES))
        assert method.serving_encoder() is method.branches.encoder
        assert all(p.requires_grad for p in method.serving_encoder().parameters())

    def test_watches_projection_and_keys_not_the_predictor(self, build, make_batch):
        method = build(BYOLConfig(branches=BRANCHES))
        view = make_batch().views[0]
        method.training_step(make_batch()._replace(views=(view, view)), 0)
        assert method.latest["positive_cosine"].item() == pytest.approx(1, abs=1e-5)  # target = online at the start
        assert set(method.latest) == {"train_loss", "positive_cosine", "negative_cosine"}
