"""Compiling: only where it pays, without a change of names or results."""

from __future__ import annotations

import itertools
import time

import pytest
import torch
from torch import nn

from ssl_core.compiling import WATCHED, Compiler, pays, uncompiled


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.mark.parametrize(
    ("step_seconds", "steps_left", "expected"),
    [
        (0.1, 40_000, True),  # over an hour left: a tenth is 400 s, compiling takes 120
        (0.1, 10_000, False),  # a quarter of an hour: 100 s
        (0.02, 100_000, False),
        (0.02, 200_000, True),
    ],
)
def test_it_pays_when_much_is_left(step_seconds: float, steps_left: int, expected: bool) -> None:
    assert pays(step_seconds, steps_left) is expected


class TestDecision:
    def steps(self, compiler: Compiler, count: int, left: int) -> list[int]:
        """At which steps it compiled."""
        return [step for step in range(count) if compiler.before_step(left - step)]

    def test_auto_on_a_gpu_decides_once_from_the_steps_it_has_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ticks = itertools.count(0.0, 1.0)  # a second a step
        monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
        net = network()
        assert self.steps(Compiler("auto", [net], on_gpu=True, backend="eager"), 100, left=5000) == [WATCHED]
        assert net._compiled_call_impl is not None

    def test_auto_leaves_a_short_run_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ticks = itertools.count(0.0, 1.0)
        monkeypatch.setattr(time, "perf_counter", lambda: next(ticks))
        net = network()
        assert self.steps(Compiler("auto", [net], on_gpu=True, backend="eager"), 100, left=500) == []
        assert net._compiled_call_impl is None

    @pytest.mark.parametrize(("choice", "on_gpu"), [("auto", False), ("off", True)])
    def test_not_on_a_cpu_and_not_when_off(self, choice: str, on_gpu: bool) -> None:
        net = network()
        assert self.steps(Compiler(choice, [net], on_gpu, backend="eager"), 100, left=10**9) == []  # type: ignore[arg-type]
        assert net._compiled_call_impl is None

    def test_on_compiles_before_the_first_step(self) -> None:
        assert self.steps(Compiler("on", [network()], on_gpu=False, backend="eager"), 3, left=3) == [0]


def test_names_results_and_gradients_stay() -> None:
    """aot_eager traces forward and backward as inductor does, and runs what it traced without a compiler."""
    plain, compiled = network(), network()
    Compiler("on", [compiled], on_gpu=False, backend="aot_eager").before_step(1)
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for net in (plain, compiled):
        net(images).square().mean().backward()
    assert list(plain.state_dict()) == list(compiled.state_dict())
    for left, right in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad)
    torch.testing.assert_close(plain[1].running_mean, compiled[1].running_mean)


def test_evaluation_calls_the_network_as_it_was_written() -> None:
    net = network()
    Compiler("on", [net], on_gpu=False, backend="eager").before_step(1)
    compiled = net._compiled_call_impl
    with uncompiled(net):
        assert net._compiled_call_impl is None
    assert net._compiled_call_impl is compiled
