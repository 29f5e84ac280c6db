import copy
import itertools
import math

import pytest
import torch
from lightly.utils.lars import LARS as LightlyLARS
from lightly.utils.scheduler import cosine_schedule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ssl_core.encoders import build_encoder
from ssl_core.optim import LARS, build_optimizer, learning_rate, parameter_groups
from ssl_core.spec import OptimConfig

DENOMINATORS = ("sum_of_norms", "norm_of_sum")


def parameter(*values, gradient):
    weight = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    weight.grad = torch.tensor(gradient, dtype=torch.float64)
    return weight


class TestLARS:
    @pytest.mark.parametrize(("denominator", "expected"), [("sum_of_norms", 5 / 1.5), ("norm_of_sum", 5 / math.hypot(0.3, 1.4))])
    def test_by_hand(self, denominator, expected):
        """w = (3, 4), ‖w‖ = 5; g = (0, 1), ‖g‖ = 1; wd = 0.1; eta = 0.01; lr = 2; m = 0.9.

        sum_of_norms: 1 + 0.1·5 = 1.5. norm_of_sum: ‖(0.3, 1.4)‖. trust = 0.01 · 5 / that.
        Step 1: buffer = lr · trust · (0.3, 1.4); w = w - buffer.
        Step 2, lr = 1, the gradient now (1, 0): the buffer keeps the first step at its old rate, 0.9 · buffer, and adds
        lr · trust' · (g + wd · w') with the norms of the new weights.
        """
        weight = parameter(3.0, 4.0, gradient=[0.0, 1.0])
        optimizer = LARS([weight], lr=2, momentum=0.9, weight_decay=0.1, eta=0.01, denominator=denominator)
        optimizer.step()
        buffer = 2 * 0.01 * expected * torch.tensor([0.3, 1.4], dtype=torch.float64)
        after = torch.tensor([3.0, 4.0], dtype=torch.float64) - buffer
        torch.testing.assert_close(weight.data, after)

        optimizer.param_groups[0]["lr"] = 1
        weight.grad = torch.tensor([1.0, 0.0], dtype=torch.float64)
        optimizer.step()
        decayed = weight.grad + 0.1 * after
        below = 1 + 0.1 * after.norm() if denominator == "sum_of_norms" else decayed.norm()
        buffer = 0.9 * buffer + 1 * 0.01 * after.norm() / below * decayed
        torch.testing.assert_close(weight.data, after - buffer)

    def test_equals_lightly_while_the_rate_is_constant(self):
        """Its epsilon of 1e-8 in the denominator aside. lightly's scaling is on where wd > 0."""
        torch.manual_seed(0)
        ours = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()
        theirs = copy.deepcopy(ours)
        inputs = torch.randn(8, 6, dtype=torch.float64)
        options = {"lr": 0.3, "momentum": 0.9, "weight_decay": 0.01}
        mine = LARS(ours.parameters(), eta=0.02, **options)
        other = LightlyLARS(theirs.parameters(), trust_coefficient=0.02, **options)
        for _ in range(5):
            for model, optimizer in ((ours, mine), (theirs, other)):
                optimizer.zero_grad()
                model(inputs).square().mean().backward()
                optimizer.step()
        for mine_now, theirs_now in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine_now, theirs_now, atol=1e-7, rtol=1e-6)

    def test_without_weight_decay_scaling_stays_on_unlike_lightlys(self):
        weight = parameter(3.0, 4.0, gradient=[0.0, 2.0])
        LARS([weight], lr=1, momentum=0, weight_decay=0, eta=0.1).step()
        torch.testing.assert_close(weight.data, torch.tensor([3.0, 4.0 - 0.1 * 5 / 2 * 2], dtype=torch.float64))

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    def test_scale_of_the_gradient_does_not_matter_without_decay(self, denominator):
        """What LARS is for."""
        ends = []
        for scale in (1.0, 1000.0):
            weight = parameter(3.0, 4.0, gradient=[0.5 * scale, -1.0 * scale])
            LARS([weight], lr=1, denominator=denominator).step()
            ends.append(weight.data)
        torch.testing.assert_close(*ends)

    @pytest.mark.parametrize(("denominator", "decay"), list(itertools.product(DENOMINATORS, (0.0, 0.1))))
    def test_zero_weight_with_zero_gradient_stays_zero(self, denominator, decay):
        weight = parameter(0.0, 0.0, gradient=[0.0, 0.0])
        LARS([weight], lr=1, weight_decay=decay, denominator=denominator).step()
        assert weight.tolist() == [0, 0]

    @pytest.mark.parametrize("denominator", DENOMINATORS)
    def test_weights_that_start_at_zero_are_not_frozen(self, denominator):
        """Trust 1: the plain gradient step."""
        weight = parameter(0.0, 0.0, gradient=[1.0, -2.0])
        LARS([weight], lr=0.5, weight_decay=0.1, denominator=denominator).step()
        assert weight.tolist() == [-0.5, 1.0]

    def test_without_a_gradient_only_decay_acts(self):
        weight = parameter(2.0, 0.0, gradient=[0.0, 0.0])
        LARS([weight], lr=0.5, weight_decay=0.1).step()
        torch.testing.assert_close(weight.data, torch.tensor([2 - 0.5 * 0.1 * 2, 0.0], dtype=torch.float64))

    def test_a_broken_gradient_is_not_hidden(self):
        weight = parameter(1.0, 1.0, gradient=[math.nan, 0.0])
        LARS([weight], lr=0.5).step()
        assert weight.isnan().any()

    def test_excluded_parameters_are_plain_sgd_with_momentum(self):
        bias = parameter(3.0, gradient=[1.0])
        group = {"params": [bias], "weight_decay": 0.0, "adapt": False}
        optimizer = LARS([group], lr=0.5, momentum=0.9, weight_decay=7.0)
        optimizer.step()
        optimizer.step()
        torch.testing.assert_close(bias.data, torch.tensor([3 - 0.5 - (0.45 + 0.5)], dtype=torch.float64))

    def test_gradients_are_read_only(self):
        """Clipping and logging may read them after the step."""
        weight = parameter(3.0, 4.0, gradient=[0.0, 1.0])
        for decay in (0.0, 0.1):
            LARS([weight], lr=1, weight_decay=decay).step()
            assert weight.grad.tolist() == [0, 1]

    def test_parameters_without_gradient_are_left_alone(self):
        used, unused = parameter(1.0, 1.0, gradient=[1.0, 1.0]), nn.Parameter(torch.ones(2))
        optimizer = LARS([used, unused], lr=1, weight_decay=0.1)
        optimizer.step()
        assert unused.tolist() == [1, 1] and unused not in optimizer.state

    def test_no_value_is_fetched_from_the_device(self):
        """`.item()` or an `if` on a tensor would make a GPU wait once per parameter; both are `_local_scalar_dense`."""

        class Fetches(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                self.count += func is torch.ops.aten._local_scalar_dense.default
                return func(*args, **(kwargs or {}))

        weights = [parameter(1.0, 2.0, gradient=[1.0, 0.0]) for _ in range(3)]
        optimizer = LARS(weights, lr=1, weight_decay=0.1)
        with Fetches() as fetches:
            optimizer.step()
            assert fetches.count == 0
            weights[0].sum().item()
            assert fetches.count == 1  # the counter works

    def test_closure(self):
        weight = parameter(1.0, gradient=[1.0])
        assert LARS([weight], lr=1).step(lambda: 3.5) == 3.5

    @pytest.mark.parametrize("bad", [{"lr": -1}, {"momentum": 1.0}, {"eta": 0}, {"weight_decay": -1}, {"denominator": "sum"}])
    def test_bad_values(self, bad):
        with pytest.raises(ValueError, match=next(iter(bad))):
            LARS([nn.Parameter(torch.ones(1))], **{"lr": 1, **bad})


class TestParameterGroups:
    def test_exclusion_by_dimension_finds_what_names_miss(self):
        """A list of names, as reference implementations have it, leaves weight decay on batch norms called otherwise."""
        model = nn.ModuleDict(
            {"encoder": build_encoder("resnet18", 32), "head": nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))}
        )
        regular, excluded = parameter_groups(model)
        ids = {id(each) for each in excluded["params"]}
        by_dimension = {name for name, each in model.named_parameters() if id(each) in ids}
        by_name = {name for name, _ in model.named_parameters() if "bn" in name or "bias" in name}
        assert by_name < by_dimension
        assert by_dimension - by_name == {
            *(f"encoder.backbone.layer{stage}.0.downsample.1.weight" for stage in (2, 3, 4)),
            "head.1.weight",
        }
        assert all(each.ndim > 1 for each in regular["params"])
        assert len(regular["params"]) + len(excluded["params"]) == len(list(model.parameters()))
        assert excluded["weight_decay"] == 0 and excluded["adapt"] is False

    def test_none_excludes_nothing(self):
        (group,) = parameter_groups(nn.Linear(3, 2), "none")
        assert len(group["params"]) == 2 and "weight_decay" not in group

    def test_frozen_and_shared_parameters(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        model[2].requires_grad_(False)
        groups = parameter_groups(model)
        assert [len(group["params"]) for group in groups] == [1, 2]
        named = [*model.named_parameters(), *model.named_parameters()]
        assert [len(group["params"]) for group in parameter_groups(iter(named))] == [1, 2]

    def test_nothing_to_train(self):
        with pytest.raises(ValueError, match="no parameter"):
            parameter_groups(nn.ReLU())


class TestLearningRate:
    @pytest.mark.parametrize(("total", "final"), [(10, 0.0), (7, 0.1), (2, 0.0)])
    def test_cosine_is_lightlys(self, total, final):
        for step in range(total):
            ours = learning_rate(step, peak=0.5, final=final, total_steps=total)
            assert ours == pytest.approx(cosine_schedule(step, total, 0.5, final), abs=1e-12)

    def test_warm_up_then_cosine(self):
        """W = 4, T = 10: a quarter, a half, three quarters, the peak; then a half cosine over the six steps left."""
        rates = [learning_rate(step, peak=8, final=2, warmup_steps=4, total_steps=10) for step in range(10)]
        assert rates[:4] == [2, 4, 6, 8]
        assert rates[3:] == pytest.approx([2 + 6 * (1 + math.cos(math.pi * k / 6)) / 2 for k in range(7)])
        assert rates[6] == pytest.approx(5) and rates[9] == 2
        assert all(later < earlier for earlier, later in itertools.pairwise(rates[3:]))
        assert rates.count(8) == 1

    def test_constant_stays_at_the_peak(self):
        rates = [learning_rate(step, peak=1, final=0.5, warmup_steps=2, total_steps=5, schedule="constant") for step in range(6)]
        assert rates == [0.5, 1, 1, 1, 1, 1]

    def test_after_the_end_the_last_rate_holds(self):
        assert [learning_rate(step, peak=1, final=0.25, total_steps=5) for step in (4, 5, 50)] == [0.25, 0.25, 0.25]

    def test_a_run_of_one_step_learns(self):
        assert learning_rate(0, peak=1, total_steps=1) == 1
        assert learning_rate(0, peak=1, warmup_steps=1, total_steps=1) == 1

    def test_a_warm_up_longer_than_the_run_is_cut_off(self):
        assert [learning_rate(step, peak=1, warmup_steps=10, total_steps=3) for step in range(3)] == [0.1, 0.2, 0.3]


def model_and_optimizer(**config):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return model, build_optimizer(model, OptimConfig(**config), total_steps=12, steps_per_epoch=4)


def train(model, built, steps):
    """Train on data that depend on the step alone; returns the rate of each step."""
    rates = []
    for step in steps:
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        built["optimizer"].zero_grad()
        model(inputs).square().mean().backward()
        rates.append(built["optimizer"].param_groups[-1]["lr"])
        built["optimizer"].step()
        built["lr_scheduler"]["scheduler"].step()
    return rates


class TestBuildOptimizer:
    @pytest.mark.parametrize("name", ["sgd", "lars"])
    def test_every_step_has_its_rate(self, name):
        """Warm-up of 1.5 epochs of 4 steps is 6 steps; all groups follow."""
        model, built = model_and_optimizer(name=name, lr=0.3, warmup_epochs=1.5, final_lr=0.03)
        rates = train(model, built, range(12))
        expected = [learning_rate(step, peak=0.3, final=0.03, warmup_steps=6, total_steps=12) for step in range(12)]
        assert rates == pytest.approx(expected) and rates[0] == pytest.approx(0.05) and rates[-1] == pytest.approx(0.03)
        assert built["lr_scheduler"]["interval"] == "step"

    @pytest.mark.parametrize(("name", "schedule"), list(itertools.product(("sgd", "lars"), ("cosine", "constant"))))
    @pytest.mark.parametrize("stop", [2, 7])
    def test_resume_equals_the_uninterrupted_run(self, name, schedule, stop, tmp_path):
        """Bit for bit, stopped inside the warm-up and after it, through a file that torch loads with weights_only."""
        config = {"name": name, "schedule": schedule, "warmup_epochs": 1}
        whole, built = model_and_optimizer(**config)
        rates = train(whole, built, range(12))

        first, built = model_and_optimizer(**config)
        train(first, built, range(stop))
        scheduler = built["lr_scheduler"]["scheduler"].state_dict()
        torch.save([first.state_dict(), built["optimizer"].state_dict(), scheduler], tmp_path / "state")

        second, built = model_and_optimizer(**config)
        model_state, optimizer_state, scheduler_state = torch.load(tmp_path / "state", weights_only=True)
        second.load_state_dict(model_state)
        built["optimizer"].load_state_dict(optimizer_state)
        built["lr_scheduler"]["scheduler"].load_state_dict(scheduler_state)
        assert train(second, built, range(stop, 12)) == rates[stop:]
        for name_, value in second.state_dict().items():
            assert torch.equal(value, whole.state_dict()[name_]), name_

    def test_sgd_is_torchs_with_decay_on_matrices_only(self):
        _, built = model_and_optimizer(lr=0.1, momentum=0.8, weight_decay=0.01)
        assert type(built["optimizer"]) is torch.optim.SGD
        assert [group["weight_decay"] for group in built["optimizer"].param_groups] == [0.01, 0.0]
        assert [group["momentum"] for group in built["optimizer"].param_groups] == [0.8, 0.8]

    def test_lars_gets_every_value(self):
        _, built = model_and_optimizer(name="lars", lars_eta=0.02, lars_denominator="norm_of_sum", weight_decay=0.01)
        regular, excluded = built["optimizer"].param_groups
        assert (regular["eta"], regular["denominator"], regular["adapt"]) == (0.02, "norm_of_sum", True)
        assert (regular["weight_decay"], excluded["weight_decay"], excluded["adapt"]) == (0.01, 0.0, False)


class TestAdamW:
    def test_one_step_by_hand(self):
        """w = 2, g = 0.5, lr = 0.1, wd = 0.3: w decays to 2·(1 - 0.03); the corrected moments are g and g²: w falls by lr.

        The bias, of one dimension, does not decay. The second step, g = -0.5 and betas 0.8 and 0.5, by hand:
        m = 0.8·0.1 - 0.2·0.5 = -0.02, over 1 - 0.8²: -0.0555…; v = 0.5·0.125 + 0.5·0.25 = 0.1875, over 0.75: 0.25.
        """
        linear = nn.Linear(1, 1).double()
        nn.init.constant_(linear.weight, 2.0)
        nn.init.constant_(linear.bias, 2.0)
        config = OptimConfig(name="adamw", lr=0.1, momentum=0.8, beta2=0.5, weight_decay=0.3, schedule="constant")
        optimizer = build_optimizer(linear, config, 10, 1)["optimizer"]
        step = 0.1 * 0.02 / 0.36 / 0.5
        for sign, expected in ((1, (2 * 0.97 - 0.1, 1.9)), (-1, (1.84 * 0.97 + step, 1.9 + step))):
            for each in linear.parameters():
                each.grad = torch.full_like(each, 0.5 * sign)
            optimizer.step()
            found = (linear.weight.item(), linear.bias.item())
            assert found == pytest.approx(expected, abs=1e-6)
