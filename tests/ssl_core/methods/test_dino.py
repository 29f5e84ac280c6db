"""DINO: loss and centre against lightly, the teacher's whole head and its batch norm, schedules, what shows collapse."""

import copy
import math

import pytest
import torch
from lightly.loss import DINOLoss
from pydantic import ValidationError

from ssl_core.methods.dino import sharpened, teacher_temperature
from ssl_core.parts.prototypes import swapped_cross_entropy
from ssl_core.spec import IDENTITY, BranchesConfig, DINOConfig, HeadConfig
from support.views import with_local

HEAD = HeadConfig(layers=3, hidden_dim=32, out_dim=8, activation="gelu", norm="bn")
BRANCHES = BranchesConfig(projector=HEAD, momentum=0.9, momentum_schedule="cosine")
CONFIG = DINOConfig(branches=BRANCHES, prototypes=12)


def outputs(views, n, k, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, k, generator=generator, dtype=torch.float64) for _ in range(views)]


class TestLoss:
    @pytest.mark.parametrize(("n", "k"), [(2, 3), (5, 8), (16, 4), (33, 64)])
    @pytest.mark.parametrize("local", [0, 1, 8])
    def test_equals_lightly_in_value_and_gradient_and_so_does_the_centre(self, n, k, local):
        """Two steps in a row, the second with the centre that the first has left."""
        for seed in range(2):
            theirs, center = DINOLoss(output_dim=k, teacher_temp=0.07, student_temp=0.1).double(), torch.zeros(k).double()
            for step in range(2):
                teacher = outputs(2, n, k, 100 * seed + step)
                mine, yours = ([x.requires_grad_() for x in outputs(2 + local, n, k, 10 * seed + step)] for _ in range(2))
                loss = swapped_cross_entropy(mine, [sharpened(each, center, 0.07) for each in teacher], 0.1)
                expected = theirs(teacher, yours)
                loss.backward()
                expected.backward()
                center = center.lerp(torch.cat(teacher).mean(dim=0), 0.1)
                assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
                assert torch.allclose(center, theirs.center.flatten(), atol=1e-12)
                for x, y in zip(mine, yours, strict=True):
                    assert torch.allclose(x.grad, y.grad, atol=1e-10)

    def test_the_teachers_distribution_by_hand(self):
        """Outputs (1, 0), centre (0.5, 0), τ = 0.5: softmax(1, 0) = (e, 1) / (e + 1)."""
        found = sharpened(torch.tensor([[1.0, 0.0]]), torch.tensor([0.5, 0.0]), 0.5)
        assert found[0].tolist() == pytest.approx([math.e / (math.e + 1), 1 / (math.e + 1)], rel=1e-6)

    def test_what_all_images_share_is_taken_off_by_the_centre(self):
        """A constant added to the outputs and to the centre changes nothing."""
        given, shift = outputs(1, 5, 4, 0)[0], torch.arange(4.0)
        assert torch.allclose(sharpened(given + shift, shift, 0.1), sharpened(given, torch.zeros(4), 0.1), atol=1e-12)


class TestStep:
    @pytest.mark.parametrize("local", [0, 3])
    def test_is_lightlys_loss_of_the_networks_outputs(self, build, make_batch, local):
        """Cosines with prototypes of length 1; the teacher's of the global views only. Then the centre."""
        method, batch = build(CONFIG), with_local(make_batch(), local)
        branches, theirs = method.branches, DINOLoss(output_dim=12, teacher_temp=0.04)
        student = [branches.query(view) for view in batch.views[:2]] + branches.queries(batch.views[2:])
        keys = [branches.key(view) for view in batch.views[:2]]
        expected = theirs(
            [branches.target_prototypes(key) for key in keys], [branches.prototypes(each.query) for each in student]
        )
        assert method.training_step(batch, 0).item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(method.center, theirs.center.flatten(), atol=1e-6)

    def test_the_teacher_sees_the_global_views_only_and_the_student_all(self, build, make_batch):
        method, seen = build(CONFIG), {"student": [], "teacher": []}
        for name, network in (("student", method.branches.encoder), ("teacher", method.branches.target_encoder)):
            network.register_forward_pre_hook(lambda _, given, name=name: seen[name].append(tuple(given[0].shape)))
        method.training_step(with_local(make_batch(), 3), 0)
        assert seen == {"student": [(8, 3, 6, 6)] * 2 + [(24, 3, 4, 4)], "teacher": [(8, 3, 6, 6)] * 2}

    def test_no_gradient_reaches_the_teacher(self, build, make_batch):
        method = build(CONFIG)
        method.training_step(make_batch(), 0).backward()
        with_gradient = {name.split(".")[1] for name, each in method.named_parameters() if each.grad is not None}
        assert with_gradient == {"encoder", "projector", "prototypes"}

    def test_without_centring_the_centre_stays_0(self, build, make_batch):
        method = build(CONFIG.changed(center_momentum=1.0))
        method.training_step(make_batch(), 0)
        assert method.center.eq(0).all()


class TestTeacher:
    def test_follows_the_student_in_every_layer_of_encoder_and_head(self, build, make_batch):
        """All parameters of the one are all parameters of the other; m = 0.9 in the first update."""
        method = build(CONFIG)
        start = {name: each.clone() for name, each in method.branches.named_parameters()}
        with torch.no_grad():
            for each in method.branches.parameters():
                if each.requires_grad:
                    each.add_(torch.randn_like(each))
        method.branches.update_target(0.0)
        now = dict(method.branches.named_parameters())
        online = [name for name in now if not name.startswith("target_")]
        assert sorted(f"target_{name}" for name in online) == sorted(name for name in now if name.startswith("target_"))
        for name in online:
            expected = 0.9 * start[f"target_{name}"] + 0.1 * now[name]
            assert torch.allclose(now[f"target_{name}"], expected, atol=1e-6), name

    def test_is_served(self, build, make_batch):
        method = build(CONFIG)
        assert method.serving_encoder() is method.branches.target_encoder
        assert torch.equal(method.eval()(make_batch().views[0]), method.branches.target_encoder(make_batch().views[0]))

    def test_its_batch_norm_knows_its_own_features(self, build, make_batch):
        """Running mean and variance by hand: r ← 0.9·r + 0.1·batch's, over what the teacher's own convolution gave for the
        global views, a then b, step after step. The student's, which also sees local views, are others."""
        method = build(CONFIG)
        teacher, optimizer = method.serving_encoder(), torch.optim.SGD(method.branches.encoder.parameters(), lr=0.5)
        maps, mean, variance = [], torch.zeros(16), torch.ones(16)
        teacher[0].register_forward_hook(lambda module, given, output: maps.append(output.detach()))
        for step in range(3):
            loss = method.training_step(with_local(make_batch(seed=step), 3), step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.branches.update_target(0.0)
        assert len(maps) == 6
        for each in maps:
            mean = 0.9 * mean + 0.1 * each.mean(dim=(0, 2, 3))
            variance = 0.9 * variance + 0.1 * each.transpose(0, 1).flatten(1).var(dim=1)
        assert torch.allclose(teacher[1].running_mean, mean, atol=1e-6)
        assert torch.allclose(teacher[1].running_var, variance, atol=1e-5)
        assert not torch.allclose(teacher[1].running_mean, method.branches.encoder[1].running_mean, atol=1e-3)

    def test_in_evaluation_it_gives_what_it_gave_in_training(self, build, make_batch):
        """Once its statistics have settled on one batch, which both views are: copied or forgotten ones would show."""
        method, batch = build(CONFIG), make_batch(n=32)
        batch = batch._replace(views=(batch.views[0], batch.views[0]))
        with torch.no_grad():
            for step in range(60):
                method.training_step(batch, step)
        teacher = method.serving_encoder()
        training = copy.deepcopy(teacher).train()(batch.views[0])
        assert torch.allclose(teacher.eval()(batch.views[0]), training, rtol=0.01, atol=0.01)


class TestSchedules:
    def test_the_teachers_temperature_rises_in_a_line_and_stays(self):
        """From 0.04 to 0.07 in 30 epochs: halfway, after 15, 0.055."""
        found = [teacher_temperature(epochs, 0.04, 0.07, 30) for epochs in (0, 15, 22.5, 30, 31, 99)]
        assert found == pytest.approx([0.04, 0.055, 0.0625, 0.07, 0.07, 0.07])
        assert teacher_temperature(0, 0.04, 0.07, 0) == 0.07

    def test_the_step_asks_for_it(self, build, make_batch):
        """At 0.055, halfway through the warm-up, the loss is that of the constant temperature."""
        rising = CONFIG.changed(teacher_temperature=0.07, teacher_temperature_start=0.04, teacher_warmup_epochs=30.0)
        method, constant = build(rising), build(CONFIG.changed(teacher_temperature=0.055))
        method.steps_per_epoch, method.steps_done = 10, 150
        assert method.training_step(make_batch(), 0).item() == constant.training_step(make_batch(), 0).item()

    def test_the_last_layer_stands_still_in_the_first_epoch_and_moves_then(self, build, make_batch, fit):
        """Four batches an epoch, weight decay on; its moving average stands still with it."""
        method, after = build(CONFIG), []
        start = method.branches.prototypes.weight.detach().clone()

        def note(module):
            after.append(
                [each.weight.detach().clone() for each in (module.branches.prototypes, module.branches.target_prototypes)]
            )

        fit(method, 2, note)
        assert torch.equal(after[0][0], start) and torch.allclose(after[0][1], start, atol=1e-6)
        assert not torch.allclose(after[1][0], start, atol=1e-5) and not torch.allclose(after[1][1], start, atol=1e-7)


class TestCollapse:
    def test_uniform_outputs_show_as_a_loss_of_ln_k(self, build, make_batch):
        method = build(CONFIG.changed(teacher_temperature=10.0, student_temperature=10.0))
        method.training_step(make_batch(), 0)
        latest = {name: value.item() for name, value in method.latest.items()}
        assert latest["train_loss"] == pytest.approx(math.log(12), abs=1e-2)
        assert (latest["loss_over_ln_k"], latest["teacher_entropy"]) == pytest.approx((1, 1), abs=1e-2)
        assert method.gauges(0, 8)["loss_at_chance"] == pytest.approx(latest["train_loss"], rel=1e-2)

    def test_the_loss_is_the_teachers_entropy_and_the_divergence_from_it(self, build, make_batch):
        method = build(CONFIG)
        loss = method.training_step(make_batch(), 0).item()
        latest = {name: value.item() for name, value in method.latest.items()}
        assert latest["teacher_kl"] > 0
        assert latest["teacher_kl"] + latest["teacher_entropy"] * math.log(12) == pytest.approx(loss, rel=1e-5)

    def test_one_prototype_for_all_images_shows_as_its_usage(self, build, make_batch):
        """Features that are the same for every image, and a temperature that makes the teacher sure."""
        method = build(CONFIG.changed(teacher_temperature=0.001), norm=False)
        method.branches.target_projector.register_forward_hook(lambda module, given, output: torch.ones_like(output))
        method.training_step(make_batch(), 0)
        assert method.latest["prototype_usage"].item() == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        ({"target": "shared"}, "branches.target = 'shared'; DINO's teacher is a moving average: use 'ema'"),
        ({"predictor": HEAD}, r"branches.predictor.layers = 3; DINO has no predictor: use 0"),
        ({"predictor": IDENTITY, "normalize": False}, "branches.normalize = false; prototypes are compared with unit vectors"),
    ],
)
def test_branches_that_cannot_work_are_refused(branches, words):
    with pytest.raises(ValidationError, match=words):
        DINOConfig(branches=BranchesConfig(projector=HEAD, **branches))
