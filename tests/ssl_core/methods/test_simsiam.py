"""SimSiam: the loss by hand and in the step, the stop-gradient, what it has in common with BYOL, the predictor's part."""

import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead
from torch.nn import functional as F

from ssl_core.methods.simsiam import negative_similarity
from ssl_core.parts.heads import build_head
from ssl_core.preflight import _method_warnings
from ssl_core.spec import BranchesConfig, BYOLConfig, FolderData, HeadConfig, SimSiamConfig, TrainSpec
from support.layers import assert_same_layers

HEAD = HeadConfig(hidden_dim=16, out_dim=8, norm="bn", final_norm="bn_plain")
BRANCHES = BranchesConfig(projector=HEAD, predictor=HeadConfig(hidden_dim=4, out_dim=8, norm="bn"), target="stop_gradient")
CONFIG = SimSiamConfig(branches=BRANCHES)


def gradient(method):
    return torch.cat([p.grad.flatten() for p in method.parameters()])


class TestLoss:
    def test_by_hand(self):
        """Unit vectors at angles of 60° and 180°: -(0.5 - 1) / 2."""
        q = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        k = torch.tensor([[0.5, math.sqrt(0.75)], [0.0, -1.0]])
        assert negative_similarity(q, k).item() == pytest.approx(0.25)
        assert negative_similarity(q, q).item() == -1

    @pytest.mark.parametrize("n", [2, 8, 17])
    @pytest.mark.parametrize("seed", range(2))
    def test_the_step_is_lightlys_in_value_and_gradient(self, build, make_batch, n, seed):
        ours, theirs = build(CONFIG, seed=seed), build(CONFIG, seed=seed).branches
        batch = make_batch(n=n, seed=seed)
        loss = ours.training_step(batch, 0)
        loss.backward()
        z = [theirs.projector(theirs.encoder(view)) for view in batch.views]
        p = [theirs.predictor(each) for each in z]
        criterion = NegativeCosineSimilarity()
        expected = (criterion(p[0], z[1].detach()) + criterion(p[1], z[0].detach())) / 2
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        assert torch.allclose(gradient(ours), gradient(theirs), atol=1e-5)

    def test_is_a_quarter_of_byols_with_the_same_target(self, build, make_batch):
        """BYOL: 2 - 2⟨q, k⟩ summed over two directions; here -⟨q, k⟩, their mean: 4 + 4·loss, four times the gradient."""
        ours, byol = build(CONFIG), build(BYOLConfig(branches=BRANCHES))
        losses = [method.training_step(make_batch(), 0) for method in (ours, byol)]
        for loss in losses:
            loss.backward()
        assert losses[1].item() == pytest.approx(4 + 4 * losses[0].item(), abs=1e-5)
        assert torch.allclose(gradient(byol), 4 * gradient(ours), atol=1e-5)

    def test_of_swapped_views_is_the_same_and_lies_within_one(self, build, make_batch):
        batch = make_batch()
        loss = build(CONFIG).training_step(batch, 0).item()
        assert -1 <= loss <= 1
        assert build(CONFIG).training_step(batch._replace(views=batch.views[::-1]), 0).item() == pytest.approx(loss, abs=1e-6)

    def test_local_views_predict_both_global_ones(self, build, make_batch):
        """Mean over 2 + 2·2 directions."""
        method, batch = build(CONFIG), make_batch()
        local = [torch.randn(8, 3, 5, 5) for _ in range(2)]
        loss = method.training_step(batch._replace(views=(*batch.views, *local)), 0)
        twin = build(CONFIG).branches
        a, b = (twin.query(view) for view in batch.views)
        together = twin.query(torch.cat(local)).query.chunk(2)
        keys = [F.normalize(out.projection, dim=1) for out in (a, b)]
        pairs = [(a.query, keys[1]), (b.query, keys[0]), *((q, k) for q in together for k in keys)]
        assert loss.item() == pytest.approx(-torch.stack([(q * k).sum(1).mean() for q, k in pairs]).mean().item(), abs=1e-5)


class TestStopGradient:
    def test_the_gradient_is_that_of_constant_keys(self, build, make_batch):
        """Of the keys as plain numbers; with the gradient let through it is another."""
        batch = make_batch()
        ours = build(CONFIG)
        ours.training_step(batch, 0).backward()
        for constant in (True, False):
            twin = build(CONFIG)
            outs = [twin.branches.query(view) for view in batch.views]
            keys = [F.normalize(out.projection.detach() if constant else out.projection, dim=1) for out in outs]
            ((-(outs[0].query * keys[1]).sum(1).mean() - (outs[1].query * keys[0]).sum(1).mean()) / 2).backward()
            assert torch.allclose(gradient(ours), gradient(twin), atol=1e-6) is constant

    def test_there_is_one_network_and_it_is_served(self, build):
        method = build(CONFIG)
        assert method.branches.target_encoder is None and method.branches.momentum(0.5) is None
        assert method.serving_encoder() is method.branches.encoder


class TestHeads:
    def test_are_the_papers(self):
        """lightly's, layer for layer, but for the bias in front of a batch norm without shift, which does nothing."""
        config = SimSiamConfig().branches
        ours = [*build_head(config.projector, 512), *build_head(config.predictor, 2048)]
        theirs = [*SimSiamProjectionHead(512, 2048, 2048).layers, *SimSiamPredictionHead(2048, 512, 2048).layers]
        assert_same_layers(ours, theirs)

    @pytest.mark.parametrize(
        ("branches", "told"),
        [({}, False), ({"target": "shared"}, True), ({"predictor": {"layers": 0}}, True), ({"target": "ema"}, False)],
    )
    def test_what_collapses_is_told_before(self, branches, told):
        method = {"name": "simsiam", "branches": {**BRANCHES.model_dump(), **branches}}
        spec = TrainSpec.model_validate({"data": {"source": "folder", "path": "p"}, "method": method})
        assert isinstance(spec.data, FolderData)
        assert any("SimSiam without" in warning for warning in _method_warnings(spec, None)) is told
