"""The schedule of the weight decay: half a cosine per step, of those parameters that have any, and exact across a resume."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from ssl_core.optim import build_optimizer
from ssl_core.spec import OptimConfig

T = 9
CONFIGS = {
    "adamw": OptimConfig(name="adamw", lr=0.01, weight_decay=0.04, final_weight_decay=0.4, warmup_epochs=1),
    "sgd": OptimConfig(name="sgd", lr=0.01, weight_decay=0.4, final_weight_decay=0.04),
    "lars": OptimConfig(name="lars", lr=0.01, weight_decay=0.0, final_weight_decay=0.1),
    "adamw for all": OptimConfig(name="adamw", lr=0.01, weight_decay=0.04, final_weight_decay=0.4, exclude="none"),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def steps(model, made, numbers):
    """Train on batches that are functions of the step; returns the weight decays of each group in each step."""
    optimizer, scheduler, decays = made["optimizer"], made["lr_scheduler"]["scheduler"], []
    for number in numbers:
        decays.append([group["weight_decay"] for group in optimizer.param_groups])
        batch = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
        scheduler.step()
    return decays


@every_config
def test_goes_from_one_value_to_the_other_along_half_a_cosine(config):
    """Step k of T: final + (first - final)·(1 + cos(π·k / (T - 1))) / 2, so the first and the last step have the two."""
    decays = steps(model := network(), build_optimizer(model, config, T, 3), range(T))
    first, final = config.weight_decay, config.final_weight_decay
    expected = [final + (first - final) * (1 + math.cos(math.pi * k / (T - 1))) / 2 for k in range(T)]
    assert [each[0] for each in decays] == pytest.approx(expected, abs=1e-12)
    assert (decays[0][0], decays[-1][0]) == pytest.approx((first, final), abs=1e-15)
    assert all(rest == [0.0] * len(rest) for _, *rest in decays), "norms and biases stay without"
    assert len(decays[0]) == (1 if config.exclude == "none" else 2)


@every_config
def test_resumed_it_is_bit_for_bit_the_uninterrupted_one(config, tmp_path):
    """The states go through a file that is read as checkpoints are, with numbers and tensors alone."""
    whole = network()
    expected = steps(whole, build_optimizer(whole, config, T, 3), range(T))
    begun, resumed = network(), network()
    made = build_optimizer(begun, config, T, 3)
    first = steps(begun, made, range(4))
    states = (begun.state_dict(), made["optimizer"].state_dict(), made["lr_scheduler"]["scheduler"].state_dict())
    torch.save(states, tmp_path / "states.pt")
    model, optimizer, scheduler = torch.load(tmp_path / "states.pt", weights_only=True)
    again = build_optimizer(resumed, config, T, 3)
    resumed.load_state_dict(model)
    again["optimizer"].load_state_dict(optimizer)
    again["lr_scheduler"]["scheduler"].load_state_dict(scheduler)
    assert first + steps(resumed, again, range(4, T)) == expected
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_without_a_final_value_it_is_constant():
    config = CONFIGS["adamw"].changed(final_weight_decay=None)
    decays = steps(model := network(), build_optimizer(model, config, T, 3), range(T))
    assert decays == [[0.04, 0.0]] * T


def test_reaches_the_weights():
    """One AdamW step without gradient: w ← w·(1 - lr·decay), at the last step's decay."""
    weight = nn.Parameter(torch.ones(2, 2))
    config = OptimConfig(name="adamw", lr=0.1, weight_decay=0.0, final_weight_decay=0.5, schedule="constant")
    made = build_optimizer([("weight", weight)], config, 2, 1)
    for _ in range(2):
        weight.grad = torch.zeros_like(weight)
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert torch.allclose(weight.detach(), torch.full((2, 2), 1 - 0.1 * 0.5))


def test_a_negative_value_is_refused():
    with pytest.raises(ValidationError, match="final_weight_decay"):
        OptimConfig(final_weight_decay=-0.1)
