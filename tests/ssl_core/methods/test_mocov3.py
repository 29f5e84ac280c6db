"""MoCo v3: the paper's algorithm 1 written out, its scale, and patch projections that are not trained."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from ssl_core.encoders import build_encoder
from ssl_core.methods import build_method
from ssl_core.methods.mocov3 import batch_contrast
from ssl_core.spec import BranchesConfig, HeadConfig, MoCoV3Config, OptimConfig, TrainSpec, explain_all

PROJECTOR = HeadConfig(hidden_dim=32, out_dim=8, norm="bn", final_norm="bn_plain")
BRANCHES = BranchesConfig(projector=PROJECTOR, predictor=PROJECTOR, momentum=0.9, momentum_schedule="cosine")
CONFIG = MoCoV3Config(branches=BRANCHES)
VIT = "timm/vit_tiny_patch16_224"


def algorithm_1(q1, q2, k1, k2, tau):
    """Row by row: 2τ·(-log softmax of the own key's logit), the mean over rows, both directions added."""

    def ctr(q, k):
        rows = [k @ query / tau for query in q]
        return 2 * tau * sum(torch.logsumexp(row, 0) - row[i] for i, row in enumerate(rows)) / len(q)

    return ctr(q1, k2) + ctr(q2, k1)


def draws(n, d, seed):
    generator = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1) for _ in range(4)]


class TestLoss:
    @pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 8), (16, 4), (33, 64)])
    @pytest.mark.parametrize("tau", [0.07, 0.2, 1.0])
    def test_equals_algorithm_1_in_value_and_gradient(self, n, d, tau):
        for seed in range(3):
            mine, theirs = ([x.requires_grad_() for x in draws(n, d, seed)] for _ in range(2))
            labels = torch.arange(n)
            loss = batch_contrast(mine[0] @ mine[3].T, labels, tau) + batch_contrast(mine[1] @ mine[2].T, labels, tau)
            expected = algorithm_1(*theirs, tau)
            loss.backward()
            expected.backward()
            assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
            assert all(torch.allclose(x.grad, y.grad, atol=1e-10) for x, y in zip(mine[:2], theirs[:2], strict=True))

    def test_by_hand(self):
        """Two images whose keys are their queries, e1 and e2, τ = 1/2: similarities 1 and 0, logits 2 and 0, so
        2τ·(-log(e² / (e² + 1))) = log(1 + e⁻²)."""
        assert batch_contrast(torch.eye(2), torch.arange(2), 0.5).item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-6)

    def test_the_gradients_size_hardly_depends_on_the_temperature(self):
        """At chance, where all similarities are equal, the gradient is 2·(1/N - 1 at the own key, 1/N elsewhere) / N at any τ."""
        gradients = []
        for tau in (0.05, 0.2, 1.0):
            similarities = torch.zeros(4, 4, requires_grad=True)
            batch_contrast(similarities, torch.arange(4), tau).backward()
            gradients.append(similarities.grad)
        expected = 2 * (torch.full((4, 4), 1 / 4) - torch.eye(4)) / 4
        assert all(torch.allclose(each, expected, atol=1e-6) for each in gradients)


class TestStep:
    def test_is_algorithm_1_of_the_networks_outputs(self, build, make_batch):
        method, batch = build(CONFIG), make_batch()
        q1, q2 = (method.branches.query(view).query for view in batch.views)
        k1, k2 = (method.branches.key(view) for view in batch.views)
        assert method.training_step(batch, 0).item() == pytest.approx(algorithm_1(q1, q2, k1, k2, 0.2).item(), rel=1e-5)

    def test_images_in_another_order_have_the_same_loss_but_other_pairs_do_not(self, build, make_batch):
        batch, order = make_batch(), torch.arange(8).roll(3)
        a, b = batch.views
        losses = [
            build(CONFIG).training_step(batch._replace(views=views), 0).item()
            for views in ((a, b), (a[order], b[order]), (a, b[order]))
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5) and losses[0] != pytest.approx(losses[2], rel=1e-3)

    def test_local_views_are_queries_for_both_keys(self, build, make_batch):
        """2 × the mean over the two global and the two local directions."""
        method, batch = build(CONFIG), make_batch()
        local = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
        queries = [*(method.branches.query(view).query for view in batch.views), method.branches.query(local).query]
        k1, k2 = (method.branches.key(view) for view in batch.views)
        pairs = [(queries[0], k2), (queries[1], k1), (queries[2], k2), (queries[2], k1)]
        expected = 2 * sum(batch_contrast(q @ k.T, torch.arange(8), 0.2) for q, k in pairs) / 4
        found = method.training_step(batch._replace(views=(*batch.views, local)), 0)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


class TestPatchProjection:
    @pytest.mark.parametrize("patch_projection", ["trained", "frozen"])
    def test_frozen_it_has_no_gradient_and_is_the_target_networks_too(self, patch_projection):
        torch.manual_seed(0)
        encoder = build_encoder(VIT, 32)
        method = build_method(encoder, encoder.dim, CONFIG.changed(patch_projection=patch_projection), OptimConfig(name="adamw"))
        views = tuple(torch.randn(4, 3, 32, 32) for _ in range(2))
        method.training_step(_Batch(views), 0).backward()
        moved = {name.split(".")[0] for name, each in encoder.backbone.named_parameters() if each.grad is not None}
        assert ("patch_embed" in moved) == (patch_projection == "trained")
        assert {"blocks", "cls_token", "pos_embed", "norm"} <= moved
        targets = method.branches.target_encoder.backbone.patch_embed.parameters()
        assert all(torch.equal(a, b) for a, b in zip(encoder.backbone.patch_embed.parameters(), targets, strict=True))

    def test_of_a_network_without_patches_it_is_refused_with_its_place(self):
        body = {
            "data": {"source": "digits"},
            "encoder": {"arch": "resnet18"},
            "method": {"name": "mocov3", "patch_projection": "frozen"},
        }
        with pytest.raises(ValidationError) as caught:
            TrainSpec.model_validate(body)
        assert dict(explain_all(caught.value))["/method/patch_projection"] == (
            "method.patch_projection = 'frozen': resnet18 has no patches; use 'trained', or a vision transformer"
        )

    def test_and_by_the_method_itself(self, make_encoder):
        with pytest.raises(ValueError, match=r"patch_projection = 'frozen': Sequential has no patches"):
            build_method(make_encoder(), 16, CONFIG.changed(patch_projection="frozen"), OptimConfig())


class _Batch:
    def __init__(self, views):
        self.views = views


def test_a_shared_target_is_refused():
    with pytest.raises(ValidationError, match="MoCo's keys are a moving average's: use 'ema'"):
        MoCoV3Config(branches=BRANCHES.changed(target="shared"))
