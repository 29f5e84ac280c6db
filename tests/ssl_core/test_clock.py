"""Where a step's time goes, by a clock that can be trusted to add up."""

from __future__ import annotations

import time

import pytest
import torch

from ssl_core.clock import STAGES, StepClock


class FakeTime:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    hand = FakeTime()
    monkeypatch.setattr(time, "perf_counter", hand.perf_counter)
    return hand


def test_shares_add_up_to_one_and_speed_is_images_over_time(hand: FakeTime) -> None:
    """10 s: 1 waiting, 2 drawing, 5 forward and backward, 0.5 optimiser, 0.5 average, 1 for nothing in particular."""
    clock = StepClock()
    for name, seconds in zip(STAGES, (1, 2, 5, 0.5, 0.5), strict=True):
        with clock.stage(name):
            hand.now += seconds
    hand.now += 1
    clock.step(256)
    told = clock.shares()
    assert told == pytest.approx(
        {
            "data_wait_share": 0.1,
            "augment_share": 0.2,
            "forward_backward_share": 0.5,
            "optimizer_share": 0.05,
            "ema_share": 0.05,
            "other_share": 0.1,
            "images_per_second": 25.6,
        }
    )


def test_each_report_begins_anew(hand: FakeTime) -> None:
    clock = StepClock()
    with clock.stage("augment"):
        hand.now += 3
    clock.shares()
    with clock.stage("ema"):
        hand.now += 1
    hand.now += 1
    told = clock.shares()
    assert (told["augment_share"], told["ema_share"], told["other_share"]) == (0, 0.5, 0.5)


def test_evaluations_and_checkpoints_do_not_count(hand: FakeTime) -> None:
    clock = StepClock()
    with clock.stage("forward_backward"):
        hand.now += 2
    with clock.stopped():
        hand.now += 1000
    clock.step(10)
    told = clock.shares()
    assert told["forward_backward_share"] == 1
    assert told["images_per_second"] == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_work_is_timed_and_not_its_launch() -> None:
    device = torch.device("cuda")
    clock = StepClock(device)
    a = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize()
    clock.shares()
    began = time.perf_counter()
    with clock.stage("forward_backward"):
        for _ in range(50):
            a @ a
    launched = time.perf_counter() - began
    torch.cuda.synchronize()
    took = time.perf_counter() - began
    told = clock.shares()
    assert launched < took / 2, "the host waited"
    assert told["forward_backward_share"] > 0.8
