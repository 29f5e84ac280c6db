"""MoCo: the loss against the queue, one push per step, the target network, EqCo."""

import math

import pytest
import torch
from lightly.loss import NTXentLoss
from torch.nn import functional as F

from ssl_core.methods.moco import queue_similarities
from ssl_core.parts.pair_loss import cross_entropy
from ssl_core.spec import BranchesConfig, ContrastLossConfig, HeadConfig, MoCoConfig

BRANCHES = BranchesConfig(projector=HeadConfig(hidden_dim=16, out_dim=8))


def config(**options):
    return MoCoConfig(**{"branches": BRANCHES, "queue_size": 20, **options})


class TestLoss:
    @pytest.mark.parametrize(("n", "d", "k"), [(2, 3, 4), (8, 16, 64), (5, 4, 1)])
    def test_equals_lightlys_memory_bank_loss_in_value_and_gradient(self, n, d, k):
        """lightly's NT-Xent with a memory bank is MoCo's InfoNCE on [q·k, q·queue]."""
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            q, key, queue = (F.normalize(torch.randn(rows, d, generator=generator), dim=1) for rows in (n, n, k))
            oracle = NTXentLoss(temperature=0.2, memory_bank_size=(k, d))
            oracle.memory_bank.bank = queue.clone()
            oracle.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
            ours, theirs = q.clone().requires_grad_(), q.clone().requires_grad_()
            loss = cross_entropy(*queue_similarities(F.normalize(ours, dim=1), key, queue), 0.2)  # lightly normalises inside
            expected = oracle(theirs, key)
            loss.backward()
            expected.backward()
            assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
            assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)

    def test_by_hand(self):
        """q = k = e1, queue (e1, e2), T = 1: -log(e / (e + e + 1))."""
        e1, e2 = torch.eye(2)
        similarities, labels = queue_similarities(e1.unsqueeze(0), e1.unsqueeze(0), torch.stack([e1, e2]))
        assert similarities.tolist() == [[1, 1, 0]]
        assert cross_entropy(similarities, labels, 1.0).item() == pytest.approx(math.log(2 + math.exp(-1)), rel=1e-6)


class TestStep:
    @pytest.mark.parametrize("symmetric", [False, True])
    def test_contrasts_with_the_queue_before_and_pushes_the_first_directions_keys_once(self, build, make_batch, symmetric):
        """Also across the wrap: 20 places, batches of 8."""
        method = build(config(symmetric=symmetric))
        for step in range(4):
            batch = make_batch(seed=step)
            queue = method.queue.keys.clone()
            pairs = [batch.views, batch.views[::-1]][: 2 if symmetric else 1]
            expected = 0.0
            for a, b in pairs:
                q, k = method.branches.query(a).query, method.branches.key(b)
                logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue.T], dim=1) / 0.2
                expected += F.cross_entropy(logits, torch.zeros(8, dtype=torch.long)).item()
            keys = method.branches.key(batch.views[1])
            assert method.training_step(batch, step).item() == pytest.approx(expected, abs=1e-5)
            queue[(torch.arange(8) + step * 8) % 20] = keys
            assert torch.allclose(method.queue.keys, queue, atol=1e-6)
            assert method.queue.pointer.item() == (step + 1) * 8 % 20

    def test_gradient_reaches_the_online_network_only(self, build, make_batch):
        method = build(config())
        method.training_step(make_batch(), 0).backward()
        for name, parameter in method.named_parameters():
            assert (parameter.grad is None) is name.startswith("branches.target_"), name
        assert not method.queue.keys.requires_grad

    def test_queued_keys_are_normalised(self, build, make_batch):
        method = build(config())
        method.training_step(make_batch(n=32), 0)
        assert torch.allclose(method.queue.keys.norm(dim=1), torch.ones(20), atol=1e-6)

    def test_eqco_is_a_margin_of_log_alpha_over_k(self, build, make_batch):
        plain = build(config()).training_step(make_batch(), 0).item()
        same = build(config(loss=ContrastLossConfig(eqco_alpha=20))).training_step(make_batch(), 0).item()
        more = build(config(loss=ContrastLossConfig(eqco_alpha=200))).training_step(make_batch(), 0).item()
        assert same == pytest.approx(plain, abs=1e-6)
        assert plain < more < plain + math.log(10) + 1e-6

    def test_reports_the_contrastive_task(self, build, make_batch):
        """With a copied target and equal views every query finds its key; the scale is in the loss and in train_loss."""
        method = build(config(loss_scale=3.0, branches=BRANCHES.changed(shuffle_bn=False)))
        batch = make_batch()
        loss = method.training_step(batch._replace(views=(batch.views[0], batch.views[0])), 0)
        latest = {name: value.item() for name, value in method.latest.items()}
        assert latest["train_loss"] == loss.item()
        assert latest["contrast_top1"] == latest["contrast_top5"] == 100
        assert latest["positive_cosine"] == pytest.approx(1, abs=1e-5) and latest["negative_cosine"] < 0.999
        assert loss.item() == pytest.approx(
            3 * build(config()).training_step(batch._replace(views=(batch.views[0],) * 2), 0).item()
        )


class TestServed:
    def test_the_online_encoder(self, build, make_batch):
        method = build(config())
        assert method.serving_encoder() is method.branches.encoder
        assert method.serving_encoder() is not method.branches.target_encoder
        view = make_batch().views[0]
        method.eval()
        assert torch.equal(method(view), method.branches.encoder(view))
