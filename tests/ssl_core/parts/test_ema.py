"""The moving average and its momentum."""

import math

import pytest
import torch
from lightly.utils.scheduler import cosine_schedule
from torch import nn

from ssl_core.parts.ema import ema_update, momentum_at, step_progress


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


class TestUpdate:
    def test_is_m_target_plus_rest_online_for_every_parameter(self):
        target, online = network(), network()
        expected = [0.9 * t + 0.1 * o for t, o in zip(target.parameters(), online.parameters(), strict=True)]
        ema_update(target, online, 0.9)
        for got, wanted in zip(target.parameters(), expected, strict=True):
            assert torch.allclose(got, wanted, atol=1e-7)

    def test_one_changes_nothing_and_zero_copies_bit_for_bit(self):
        target, online = network(), network()
        before = [p.clone() for p in target.parameters()]
        ema_update(target, online, 1.0)
        assert all(torch.equal(a, b) for a, b in zip(target.parameters(), before, strict=True))
        ema_update(target, online, 0.0)
        assert all(torch.equal(a, b) for a, b in zip(target.parameters(), online.parameters(), strict=True))

    def test_leaves_the_buffers_and_the_online_network_alone(self):
        target, online = network(), network()
        online[1].running_mean.fill_(3.0)
        online_before = [p.clone() for p in online.parameters()]
        ema_update(target, online, 0.5)
        assert target[1].running_mean.eq(0).all()
        assert all(torch.equal(a, b) for a, b in zip(online.parameters(), online_before, strict=True))

    def test_converges_to_a_resting_network_at_the_rate_m(self):
        target, online = nn.Linear(1, 1), nn.Linear(1, 1)
        nn.init.zeros_(target.weight)
        nn.init.ones_(online.weight)
        for _ in range(50):
            ema_update(target, online, 0.9)
        assert target.weight.item() == pytest.approx(1 - 0.9**50, abs=1e-6)

    def test_networks_without_parameters_are_fine_and_unlike_ones_are_refused(self):
        ema_update(nn.Identity(), nn.Identity(), 0.9)
        with pytest.raises(ValueError, match="differ"):
            ema_update(nn.Linear(2, 3), nn.Linear(3, 2), 0.9)


class TestMomentum:
    def test_cosine_by_hand(self):
        """From 0.996: halfway (cos = 0) 1 - 0.004 / 2 = 0.998."""
        assert momentum_at(0.996, "cosine", 0) == pytest.approx(0.996, abs=1e-15)
        assert momentum_at(0.996, "cosine", 0.5) == pytest.approx(0.998, abs=1e-15)
        assert momentum_at(0.996, "cosine", 1) == 1.0  # exactly

    @pytest.mark.parametrize("total", [2, 3, 10, 997])
    def test_every_step_equals_lightlys_schedule(self, total):
        for step in range(total):
            ours = momentum_at(0.99, "cosine", step_progress(step, total))
            assert ours == pytest.approx(cosine_schedule(step, total, 0.99, 1.0), abs=1e-12)
        assert ours == 1.0

    def test_constant_stays(self):
        assert {momentum_at(0.99, "constant", step_progress(step, 5)) for step in range(5)} == {0.99}

    def test_progress_at_the_edges(self):
        assert step_progress(0, 1) == 1.0
        assert step_progress(7, 5) == 1.0
        assert step_progress(7, math.inf) == 0.0
