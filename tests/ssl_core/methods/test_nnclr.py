"""NNCLR: neighbours, the loss by hand and in the step, the support set, both kinds of negatives."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import NNCLRPredictionHead, NNCLRProjectionHead
from torch.nn import functional as F

from ssl_core.methods.nnclr import nearest
from ssl_core.parts.heads import build_head
from ssl_core.spec import BranchesConfig, HeadConfig, NNCLRConfig
from support.layers import assert_same_layers

HEAD = HeadConfig(hidden_dim=16, out_dim=8, norm="bn", final_norm="bn")
BRANCHES = BranchesConfig(projector=HEAD, predictor=HeadConfig(hidden_dim=16, out_dim=8, norm="bn"), target="stop_gradient")
CONFIG = NNCLRConfig(branches=BRANCHES, queue_size=20)


class TestNearest:
    def test_by_hand_and_without_gradient(self):
        """Of e1 and e2, (0.6, 0.8) is nearer to e2; both are nearer than -e1."""
        support = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], requires_grad=True)
        found = nearest(torch.tensor([[0.6, 0.8], [0.9, 0.1]], requires_grad=True), support)
        assert found.tolist() == [[0, 1], [1, 0]] and not found.requires_grad

    def test_of_a_member_is_itself_whatever_the_order(self):
        support = F.normalize(torch.randn(30, 8), dim=1)
        order = torch.randperm(30)
        assert torch.equal(nearest(support[:9], support[order]), support[:9])


class TestStep:
    @pytest.mark.parametrize("seed", range(2))
    def test_finds_predictions_from_the_other_views_neighbours(self, build, make_batch, seed):
        """Mean of both directions, at T = 0.1; gradient through the predictions only; over the wrap of 20 places."""
        ours = build(CONFIG, seed=seed)
        twin = build(CONFIG, seed=seed)
        for step in range(4):
            batch = make_batch(seed=10 * seed + step)
            support = ours.queue.keys.clone()
            outs = [twin.branches.query(view) for view in batch.views]
            z = [F.normalize(out.projection.detach(), dim=1) for out in outs]
            terms = []
            for i, j in ((0, 1), (1, 0)):
                neighbours = support[(z[i] @ support.T).argmax(1)]
                terms.append(F.cross_entropy(neighbours @ outs[j].query.T / 0.1, torch.arange(8)))
            expected = (terms[0] + terms[1]) / 2
            loss = ours.training_step(batch, step)
            assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
            for method, value in ((ours, loss), (twin, expected)):
                method.zero_grad()
                value.backward()
            for mine, other in zip(ours.parameters(), twin.parameters(), strict=True):
                assert torch.allclose(mine.grad, other.grad, atol=1e-5)
            support[(torch.arange(8) + step * 8) % 20] = z[0]
            assert torch.allclose(ours.queue.keys, support, atol=1e-6)  # the first view's projections, once

    def test_nt_xent_is_lightlys_recipe(self, build, make_batch):
        method, twin = build(CONFIG.changed(negatives="nt_xent")), build(CONFIG).branches
        batch = make_batch()
        outs = [twin.query(view) for view in batch.views]
        z = [F.normalize(out.projection, dim=1) for out in outs]
        found = [nearest(each, method.queue.keys) for each in z]
        criterion = NTXentLoss(temperature=0.1)
        expected = (criterion(found[0], outs[1].query) + criterion(found[1], outs[0].query)) / 2
        assert method.training_step(batch, 0).item() == pytest.approx(expected.item(), abs=1e-5)

    def test_of_identical_images_is_the_logarithm_of_their_number(self, build, make_batch):
        """All predictions alike: log N, as for a collapsed network."""
        method, batch = build(CONFIG), make_batch()
        with torch.no_grad():
            for parameter in method.branches.predictor[-1].parameters():
                parameter.fill_(0.5)
            method.branches.predictor[-1].weight.zero_()
        assert method.training_step(batch, 0).item() == pytest.approx(math.log(8), abs=1e-5)

    def test_local_views_share_the_keys_of_the_global_ones(self, build, make_batch):
        method, batch = build(CONFIG), make_batch()
        local = torch.randn(8, 3, 5, 5)
        twin = build(CONFIG).branches
        outs = [twin.query(view) for view in (*batch.views, local)]
        found = [nearest(F.normalize(out.projection, dim=1), method.queue.keys) for out in outs[:2]]
        pairs = [(found[1], outs[0]), (found[0], outs[1]), (found[1], outs[2]), (found[0], outs[2])]
        terms = [F.cross_entropy(k @ out.query.T / 0.1, torch.arange(8)) for k, out in pairs]
        loss = method.training_step(batch._replace(views=(*batch.views, local)), 0)
        assert loss.item() == pytest.approx(torch.stack(terms).mean().item(), abs=1e-5)
        assert method.queue.pointer.item() == 8

    def test_reports_how_near_the_neighbours_are(self, build, make_batch):
        """1 once the queue holds the very projections that are asked for."""
        method, batch = build(CONFIG), make_batch()
        method.training_step(batch, 0)
        before = method.latest["neighbour_cosine"].item()
        method.training_step(batch._replace(views=batch.views[::-1]), 0)  # its second view was the first one before
        assert before < 0.95 and method.latest["neighbour_cosine"].item() == pytest.approx(1, abs=1e-5)


def test_heads_are_the_papers():
    """lightly's, layer for layer, but for the bias in front of the last batch norm, whose shift takes its place."""
    config = NNCLRConfig().branches
    ours = [*build_head(config.projector, 512), *build_head(config.predictor, 256)]
    theirs = [*NNCLRProjectionHead(512, 2048, 256).layers, *NNCLRPredictionHead(256, 4096, 256).layers]
    assert_same_layers(ours, theirs)
