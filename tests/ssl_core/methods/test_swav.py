"""SwAV: the loss against lightly, codes that the queue helps to share out, prototypes that are frozen and renormalised."""

import pytest
import torch
from lightly.loss import SwaVLoss
from pydantic import ValidationError
from torch.nn import functional as F

from ssl_core.parts.prototypes import swapped_cross_entropy
from ssl_core.parts.sinkhorn import sinkhorn
from ssl_core.spec import BranchesConfig, HeadConfig, SwAVConfig
from support.views import with_local

HEAD = HeadConfig(hidden_dim=32, out_dim=8, norm="bn")
CONFIG = SwAVConfig(branches=BranchesConfig(projector=HEAD, target="shared"), prototypes=12)


def cosines(views, n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, k, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(views)]


def loss_of(high, low, queue, temperature, epsilon, iterations):
    rows = [torch.cat([scores.detach(), past]) for scores, past in zip(high, queue, strict=True)] if queue else high
    codes = [sinkhorn(each, epsilon, iterations)[: len(high[0])] for each in rows]
    return swapped_cross_entropy([*high, *low], codes, temperature)


class TestLoss:
    @pytest.mark.parametrize(("n", "k"), [(2, 3), (5, 5), (16, 4), (33, 64)])
    @pytest.mark.parametrize("local", [0, 1, 6])
    @pytest.mark.parametrize("queued", [0, 20])
    def test_equals_lightly_in_value_and_gradient(self, n, k, local, queued):
        for seed in range(2):
            ours, theirs = ([x.requires_grad_() for x in cosines(2 + local, n, k, seed)] for _ in range(2))
            queue = cosines(2, queued, k, seed + 10) if queued else None
            loss = loss_of(ours[:2], ours[2:], queue, 0.1, 0.05, 3)
            expected = SwaVLoss(temperature=0.1, sinkhorn_epsilon=0.05, sinkhorn_iterations=3)(theirs[:2], theirs[2:], queue)
            loss.backward()
            expected.sum().backward()  # lightly's has one element
            assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
            for x, y in zip(ours, theirs, strict=True):
                assert torch.allclose(x.grad, y.grad, atol=1e-10)


class TestStep:
    @pytest.mark.parametrize("local", [0, 2])
    def test_is_the_loss_of_the_prototypes_cosines(self, build, make_batch, local):
        """lightly's loss, outside, on what the networks give; prototypes of any length have the length 1 in the step."""
        method, batch = build(CONFIG), with_local(make_batch(), local)
        with torch.no_grad():
            method.prototypes.weight.mul_(5)
        out = [method.branches.query(view) for view in batch.views[:2]] + method.branches.queries(batch.views[2:])
        cosine = [each.query @ F.normalize(method.prototypes.weight, dim=1).T for each in out]
        expected = SwaVLoss()(cosine[:2], cosine[2:])
        assert method.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(method.prototypes.weight.norm(dim=1), torch.ones(12), atol=1e-6)

    def test_says_how_far_from_uniform_it_is(self, build, make_batch):
        """At a temperature of 10, with logits within ±0.1, every prediction is nearly uniform, and the loss nearly ln K."""
        warm = build(CONFIG.changed(temperature=10.0))
        warm.training_step(make_batch(), 0)
        assert warm.latest["loss_over_ln_k"].item() == pytest.approx(1, abs=1e-2)
        assert warm.latest["prediction_entropy"].item() == pytest.approx(1, abs=1e-2)
        assert warm.gauges(0, 8)["loss_at_chance"] == pytest.approx(warm.latest["train_loss"].item(), rel=1e-2)


class TestQueue:
    CONFIG = CONFIG.changed(queue_size=16, queue_start_epochs=2.0)

    def loss(self, build, make_batch, steps_done, config=CONFIG):
        method = build(config)
        method.steps_per_epoch, method.steps_done = 4, steps_done
        return method.training_step(make_batch(), 0).item(), method

    def test_is_used_after_its_epochs(self, build, make_batch):
        alone = build(CONFIG).training_step(make_batch(), 0).item()
        assert self.loss(build, make_batch, 7)[0] == alone
        assert self.loss(build, make_batch, 8)[0] != pytest.approx(alone, rel=1e-4)

    def test_is_never_used_before_it_is_full_of_images(self, build, make_batch):
        """8 images a step: 16 after two steps."""
        early = self.CONFIG.changed(queue_start_epochs=0.0)
        alone = build(CONFIG).training_step(make_batch(), 0).item()
        assert self.loss(build, make_batch, 1, early)[0] == alone
        assert self.loss(build, make_batch, 2, early)[0] != pytest.approx(alone, rel=1e-4)

    def test_holds_each_views_projections_once(self, build, make_batch):
        _, method = self.loss(build, make_batch, 0)
        twin = build(self.CONFIG)
        with torch.no_grad():
            queries = [twin.branches.query(view).query for view in make_batch().views]
        for queue, query in zip((method.queue_a, method.queue_b), queries, strict=True):
            assert queue.pointer.item() == 8
            assert torch.allclose(queue.keys[:8], query, atol=1e-6)

    def test_the_past_is_compared_with_the_prototypes_of_now(self, build, make_batch):
        """lightly's loss with the queue's rows times today's prototypes."""
        method, batch = build(self.CONFIG), make_batch()
        method.steps_per_epoch, method.steps_done = 4, 8
        weight = method.prototypes.weight
        high = [method.branches.query(view).query @ weight.T for view in batch.views]
        past = [queue.keys @ weight.T for queue in (method.queue_a, method.queue_b)]
        expected = SwaVLoss()(high, [], past)
        assert method.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_prototypes_stand_still_in_the_first_epoch_and_move_then(build, make_batch, fit):
    """Four batches an epoch, weight decay on: not even that moves them."""
    method = build(CONFIG.changed(freeze_prototypes_epochs=1.0))
    start, after = method.prototypes.weight.detach().clone(), []
    fit(method, 2, lambda module: after.append(module.prototypes.weight.detach().clone()))
    assert torch.allclose(after[0], start, atol=1e-6) and not torch.allclose(after[1], start, atol=1e-4)


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        ({"target": "ema"}, "branches.target = 'ema'; SwAV has one network: use 'shared'"),
        ({"target": "shared", "normalize": False}, "branches.normalize = false; prototypes are compared with unit vectors"),
    ],
)
def test_branches_that_cannot_work_are_refused(branches, words):
    with pytest.raises(ValidationError, match=words):
        SwAVConfig(branches=BranchesConfig(**branches))
