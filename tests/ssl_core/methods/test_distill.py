"""Distillation: its losses by hand, a teacher that stays what it is and sees what it knows, and a run of the trainer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from ssl_core.data.errors import DataError
from ssl_core.encoders import build_encoder
from ssl_core.events import Events, Stopped
from ssl_core.export import export_encoder
from ssl_core.fitting import by_rule
from ssl_core.inference.load_torch import load_encoder
from ssl_core.manifest import EncoderCorrupt
from ssl_core.methods import Distill, build_method
from ssl_core.methods.distill import cosine_distance, similarity_cross_entropy
from ssl_core.optim import build_optimizer
from ssl_core.parts.teacher import Teacher
from ssl_core.preflight import check
from ssl_core.spec import BranchesConfig, DigitsData, DistillConfig, HeadConfig, OptimConfig, TrainSpec, explain_all
from ssl_core.teaching import load_teacher, pictures
from ssl_core.train import train
from ssl_core.weights import WeightsError
from support.comparing import draw, unit

HEAD = HeadConfig(hidden_dim=32, norm="bn")
CONFIG = DistillConfig(branches=BranchesConfig(projector=HEAD, target="shared"))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
ENCODER = "enc_" + "0" * 26


class TestLosses:
    def test_cosine_is_half_the_squared_distance_on_the_sphere(self):
        """Also by hand: at a right angle 1, opposite 2."""
        s, t = (unit(x) for x in draw((12, 12), 7, 0))
        assert cosine_distance(s, t).item() == pytest.approx(0.5 * (s - t).square().sum(dim=1).mean().item(), abs=1e-12)
        axes = torch.eye(2)
        assert cosine_distance(axes, axes.flip(0)).item() == 1 and cosine_distance(axes, -axes).item() == 2

    def test_similarity_by_hand(self):
        """One image, one past feature at a right angle to the teacher's own, both temperatures 1, the student there as well.

        The teacher's similarities are (1, 0), p = e/(e+1); the student's (0, 1): p·ln(1+e) + (1-p)·(ln(1+e) - 1).
        """
        own, past = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        e = torch.tensor(1.0).exp()
        p, log = e / (e + 1), (1 + e).log()
        assert similarity_cross_entropy(past, own, past, 1.0, 1.0).item() == pytest.approx((p * log + (1 - p) * (log - 1)).item())

    def test_similarity_is_least_where_the_student_says_the_same(self):
        s, t, past = (unit(x) for x in draw((6, 6, 20), 8, 1))
        same = similarity_cross_entropy(t, t, past, 0.2, 0.2)
        assert same < similarity_cross_entropy(s, t, past, 0.2, 0.2)
        assert torch.allclose(same, similarity_cross_entropy(t, t, past.flip(0), 0.2, 0.2))

    def test_a_step_is_the_mean_over_all_views_local_ones_too(self, build, make_batch):
        method, batch = build(CONFIG.changed(centre="off")), make_batch()
        local = [torch.randn(8, 3, 4, 4) for _ in range(2)]
        loss = method.training_step(batch._replace(views=(*batch.views, *local)), 0)
        outs = [method.branches.query(view).query for view in batch.views]
        outs += method.branches.query(torch.cat(local)).query.chunk(2)
        targets = [F.normalize(method.teacher.network(view), dim=1) for view in (*batch.views, *local)]
        expected = torch.stack([cosine_distance(*pair) for pair in zip(outs, targets, strict=True)]).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)

    def test_targets_are_without_the_mean_of_global_views_so_far(self, build, make_batch):
        """After two steps the plain mean of all 32 features; their targets then tell images apart."""
        method = build(CONFIG)
        views = [view for seed in (1, 2) for view in make_batch(seed=seed).views]
        for seed in (1, 2):
            loss = method.training_step(make_batch(seed=seed), 0)
        features = [method.teacher(view) for view in views]
        mean = torch.cat(features).mean(dim=0)
        assert torch.allclose(method.center, mean, atol=1e-6)
        targets = [F.normalize(each - mean, dim=1) for each in features[2:]]
        outs = [method.branches.query(view).query for view in views[2:]]
        expected = torch.stack([cosine_distance(*pair) for pair in zip(outs, targets, strict=True)]).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_the_first_view_is_remembered_after_the_step(self, build, make_batch):
        method, batch = build(CONFIG.changed(loss="similarity", past_features=20, centre="off")), make_batch()
        before = method.queue.snapshot()
        method.training_step(batch, 0)
        assert torch.allclose(method.queue.keys[:8], F.normalize(method.teacher(batch.views[0]), dim=1))
        assert torch.equal(method.queue.keys[8:], before[8:])


class TestTeacher:
    def test_is_no_part_of_what_is_trained_or_kept(self, build, make_batch):
        method = build(CONFIG)
        own = {id(each) for each in [*method.teacher.network.parameters(), *method.teacher.network.buffers()]}
        assert own and not own & {id(each) for each in [*method.parameters(), *method.buffers()]}
        groups = build_optimizer(method, OptimConfig(), 10, 5)["optimizer"].param_groups
        assert not own & {id(each) for group in groups for each in group["params"]}
        assert not [name for name in method.state_dict() if "teacher" in name]
        assert method.serving_encoder() is method.branches.encoder

    def test_does_not_change_or_get_a_gradient(self, build, make_batch):
        """Its batch norm keeps its statistics, whatever mode the method is in."""
        method, batch = build(CONFIG), make_batch()
        before = {name: value.clone() for name, value in method.teacher.network.state_dict().items()}
        optimizer = torch.optim.SGD(method.parameters(), lr=1.0)
        method.train()
        method.training_step(batch, 0).backward()
        optimizer.step()
        assert not method.teacher.network.training and not method.teacher(batch.views[0]).requires_grad
        assert all(torch.equal(value, before[name]) for name, value in method.teacher.network.state_dict().items())
        assert all(each.grad is None for each in method.teacher.network.parameters())

    def test_sees_pictures_in_its_own_normalisation_and_size(self):
        """Pixels 12×12 normalised by the job; the network gets them at 8×8, normalised with its own numbers."""
        pixels = torch.rand(2, 3, 12, 12)
        mean, std, own_mean, own_std = (torch.tensor(x).view(1, 3, 1, 1) for x in (MEAN, STD, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))
        teacher = Teacher(nn.Flatten(), 192, size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), view_mean=MEAN, view_std=STD)
        small = F.interpolate(pixels, (8, 8), mode="bilinear", antialias=True)
        expected = ((small - own_mean) / own_std).flatten(1)
        assert torch.allclose(teacher((pixels - mean) / std), expected, atol=1e-5)

    def test_one_number_stands_for_all_channels_and_nothing_changes_what_fits(self):
        view = torch.randn(2, 3, 8, 8)
        same = Teacher(nn.Flatten(), 192, size=8, mean=(0.5,), std=(0.25,), view_mean=(0.5,) * 3, view_std=(0.25,) * 3)
        assert torch.equal(same(view), view.flatten(1))

    def test_follows_the_views_to_their_device(self):
        teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), 5, size=8)
        assert teacher(torch.empty(2, 3, 8, 8, device="meta")).device.type == "meta"
        assert {each.device.type for each in teacher.network.parameters()} == {"meta"}


class TestHeads:
    @pytest.mark.parametrize("last", ["projector", "predictor"])
    def test_the_last_one_has_the_width_of_the_teacher(self, make_encoder, last):
        config = CONFIG.changed(branches=BranchesConfig(**{"projector": HEAD, last: HEAD}, target="shared"))
        method = build_method(make_encoder(), 16, config, OptimConfig(), Teacher(make_encoder(), 24))
        assert getattr(method.branches, last)[-1].out_features == 24 and method.config is config

    def test_without_any_the_widths_must_agree(self, make_encoder):
        bare = CONFIG.changed(branches=BranchesConfig(projector=HeadConfig(layers=0), target="shared"))
        assert isinstance(build_method(make_encoder(), 16, bare, OptimConfig(), Teacher(make_encoder(), 16)), Distill)
        with pytest.raises(ValueError, match=r"projector\.layers = 0, and the encoder's features have 16 .* the teacher's 24"):
            build_method(make_encoder(), 16, bare, OptimConfig(), Teacher(make_encoder(), 24))

    def test_a_teacher_is_needed(self, make_encoder):
        with pytest.raises(ValueError, match=r"method\.teacher"):
            build_method(make_encoder(), 16, CONFIG, OptimConfig())


def spec(**method):
    """Digits, a tiny student, four epochs of a few steps."""
    head = {"layers": 2, "hidden_dim": 32, "norm": "bn"}
    return TrainSpec.model_validate(
        {
            "data": {"source": "digits", "size": 16, "mean": (0.4,), "std": (0.3,), "held_out": 0.9},
            "encoder": {"arch": "shufflenet_v2_x0_5"},
            "method": {"name": "distill", "branches": {"projector": head, "target": "shared"}, **method},
            "optim": {"name": "sgd", "lr": 0.05, "warmup_epochs": 1},
            "evaluate": {"every_epochs": 4, "linear": "off", "max_images": 50},
            "trainer": {"max_epochs": 4, "batch_size": 32, "precision": "fp32", "log_every_steps": 1},
        }
    )


class TestConfig:
    @pytest.mark.parametrize(
        ("given", "pointer", "words"),
        [
            ({"teacher": "a.safetensors"}, "/method/teacher_arch", "'a.safetensors' gives weights alone"),
            ({"teacher": "a.pth", "teacher_arch": "resnet81"}, "/method/teacher_arch", "'resnet18'"),
            ({"teacher": "../a.pth", "teacher_arch": "resnet18"}, "/method/teacher", "below the data root"),
            ({"teacher": ENCODER, "teacher_arch": "resnet18"}, "/method/teacher_arch", "leave it out"),
            ({"teacher": ENCODER, "teacher_size": 224}, "/method/teacher_size", "leave it out"),
            ({"teacher": "timm", "teacher_arch": "resnet18"}, "/method/teacher", "'torchvision'"),
            ({"branches": {"target": "ema"}}, "/method/branches/target", "use shared"),
            ({"branches": {"target": "shared", "normalize": False}}, "/method/branches/normalize", "use true"),
        ],
    )
    def test_says_which_field_and_what_would_be_right(self, given, pointer, words):
        with pytest.raises(ValidationError) as error:
            spec(**given)
        ((found, sentence),) = explain_all(error.value)
        assert found == pointer and words in sentence

    @pytest.mark.parametrize(
        ("given", "pointer", "words"),
        [
            ({}, "/method/teacher", "is required"),
            ({"teacher": "nowhere.pth", "teacher_arch": "resnet18"}, "/method/teacher", "no file 'nowhere.pth'"),
            ({"teacher": "timm", "teacher_arch": "timm/resnet81"}, "/method/teacher_arch", "no model 'resnet81'"),
        ],
    )
    def test_preflight_looks_for_it(self, tmp_path, given, pointer, words):
        ((found, sentence),) = check(spec(**given), tmp_path).problems
        assert found == pointer and words in sentence


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small ResNet for images of 32 px, exported; its batch norms know these images."""
    torch.manual_seed(3)
    encoder = build_encoder("resnet18", 32, "imagenet")
    encoder.train()(torch.randn(16, 3, 32, 32))
    facts = {"source": "digits", "images": 1, "fingerprint": "x"}
    known = TrainSpec(data=DigitsData(size=32, mean=(0.5,), std=(0.25,)))
    return export_encoder(encoder.eval(), known, facts, {}, tmp_path_factory.mktemp("teacher"), None)


class TestLoading:
    def test_an_encoder_of_ours_says_what_it_says_when_served(self, folder):
        """In a job that normalises with 0.4 and 0.3, at its own size of 32 px."""
        teacher = load_teacher(spec(teacher=ENCODER), Path("."), folder)
        pixels = torch.rand(3, 3, 32, 32)
        with torch.no_grad():
            expected = load_encoder(folder).eval()((pixels - 0.5) / 0.25)
        assert (teacher.dim, teacher.size) == (512, 32)
        assert load_teacher(spec(), Path("."), folder).dim == 512, "a folder without an id will do"
        assert torch.allclose(teacher((pixels - 0.4) / 0.3), expected, atol=1e-4)

    def test_a_file_of_weights_in_the_size_and_normalisation_that_are_given(self, tmp_path):
        torch.manual_seed(4)
        network = build_encoder("shufflenet_v2_x0_5", 32)
        save_file(network.backbone.state_dict(), tmp_path / "a.safetensors")
        given = {"teacher": "a.safetensors", "teacher_arch": "shufflenet_v2_x0_5"}
        teacher = load_teacher(spec(**given, teacher_size=32, teacher_mean=MEAN, teacher_std=STD), tmp_path)
        pixels, (mean, std) = torch.rand(2, 3, 32, 32), (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
        with torch.no_grad():
            assert torch.allclose(teacher((pixels - 0.4) / 0.3), network.eval()((pixels - mean) / std), atol=1e-4)
        assert load_teacher(spec(**given), tmp_path).size == 224
        with pytest.raises(WeightsError, match=r"method\.teacher = 'a\.safetensors' holds another network"):
            load_teacher(spec(teacher="a.safetensors", teacher_arch="resnet18", teacher_size=32), tmp_path)

    def test_timm_knows_what_its_networks_are_given(self):
        """Its ViT-S/16 (augreg) are given 224 px, normalised with 0.5; torchvision's networks ImageNet's numbers."""
        vit = DistillConfig(teacher="timm", teacher_arch="timm/vit_small_patch16_224")
        assert pictures(vit) == (224, (0.5,) * 3, (0.5,) * 3)
        assert pictures(vit.changed(teacher_mean=MEAN, teacher_size=96)) == (96, MEAN, (0.5,) * 3)
        assert pictures(DistillConfig(teacher="a.pth", teacher_arch="resnet18")).mean == (0.485, 0.456, 0.406)

    def test_is_there_when_the_batch_size_is_looked_for(self, folder):
        """`trainer.batch_size: "auto"`: what the teacher computes is not kept for a backward pass, so that only views count."""
        given = spec(teacher=ENCODER)
        small, large = (by_rule(given, 4096, memory, load_teacher(given, Path("."), folder)) for memory in (2**28, 2**29))
        assert small and large and 1.5 <= large / small <= 4

    def test_draws_no_random_numbers(self, folder):
        state = torch.get_rng_state()
        load_teacher(spec(teacher=ENCODER), Path("."), folder)
        assert torch.equal(torch.get_rng_state(), state)

    def test_says_what_is_missing_or_too_much(self, folder, tmp_path):
        with pytest.raises(WeightsError, match="--teacher FOLDER"):
            load_teacher(spec(teacher=ENCODER), tmp_path)
        with pytest.raises(ValueError, match=r"method\.teacher is required"):
            load_teacher(spec(), tmp_path)
        with pytest.raises(EncoderCorrupt, match="missing"):
            load_teacher(spec(teacher=ENCODER), tmp_path, tmp_path / "gone")
        with pytest.raises(ValueError, match="two teachers"):
            load_teacher(spec(teacher="a.pth", teacher_arch="resnet18"), tmp_path, folder)
        with pytest.raises(DataError, match=r"no file 'a\.pth'"):
            load_teacher(spec(teacher="a.pth", teacher_arch="resnet18"), tmp_path)
        with pytest.raises(ValueError, match=r"teacher_arch = 'vit_b_16' at method\.teacher_size = 100: .* multiple of 16"):
            load_teacher(spec(teacher="a.pth", teacher_arch="vit_b_16", teacher_size=100), tmp_path)
        other = spec().changed(method={"name": "simclr"})
        assert load_teacher(other, tmp_path) is None
        with pytest.raises(ValueError, match=r"'simclr' has no teacher"):
            load_teacher(other, tmp_path, folder)


def test_the_trainer_distils_and_a_stopped_run_ends_where_an_unbroken_one_does(folder, tmp_path):
    """`python -m ssl_core --teacher`, beside the same run here, stopped in the middle: bit for bit. About 15 s: three runs."""
    (tmp_path / "spec.json").write_text(spec(teacher=ENCODER, loss="similarity", past_features=40).model_dump_json())
    command = [sys.executable, "-m", "ssl_core", "spec.json", "--out", "whole", "--teacher", str(folder)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = [json.loads(line) for line in (tmp_path / "whole" / "events.jsonl").read_text().splitlines()]
    losses = [line["values"]["train_loss"] for line in lines if "train_loss" in line.get("values", {})]
    assert losses[-1] < losses[0]

    def run(out, polls, resume):
        left = iter(range(polls))
        events = Events(tmp_path / f"{out}.jsonl")
        given = TrainSpec.model_validate_json((tmp_path / "spec.json").read_text())
        try:
            train(
                given,
                tmp_path / out,
                data_root=tmp_path,
                events=events,
                teacher=folder,
                resume=resume,
                asked_to_stop=lambda: next(left, None) is None,
            )
        finally:
            events.close()

    with pytest.raises(Stopped):
        run("first", 10, [])
    run("second", 10**6, [tmp_path / "first"])
    assert '"resumed"' in (tmp_path / "second.jsonl").read_text()
    whole, again = (load_file(tmp_path / out / "encoder" / "model.safetensors") for out in ("whole", "second"))
    assert [name for name in whole if not torch.equal(whole[name], again[name])] == []


@pytest.mark.parametrize("gone", ["folder", "file"])
def test_a_teacher_that_is_gone_is_told_as_such(folder, tmp_path, gone):
    """About 3 s: a process that imports torch."""
    given = {"teacher": ENCODER} if gone == "folder" else {"teacher": "gone.pth", "teacher_arch": "resnet18"}
    (tmp_path / "spec.json").write_text(spec(**given).model_dump_json())
    command = [sys.executable, "-m", "ssl_core", "spec.json", "--out", "out", "--data-root", "."]
    more = ["--teacher", "gone"] if gone == "folder" else []
    ended = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    last = json.loads((tmp_path / "out" / "events.jsonl").read_text().splitlines()[-1])
    assert ended.returncode == 4 and last["type"] == "error" and "gone" in last["message"]
    assert last["code"] == {"folder": "encoder_error", "file": "data_error"}[gone]
