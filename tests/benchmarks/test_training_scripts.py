"""training.py, gpu.py and profile_step.py from end to end at their smallest, and the parts they share.

The end-to-end tests take 10 to 60 s each: every figure is taken in a process of its own, and each of those imports torch.
"""

import json
import os
import subprocess
import sys
from itertools import repeat
from pathlib import Path

import bare
import gpu
import images
import measure
import peers
import profile_step
import pytest
import pytorch_lightning as pl
import torch
import training
from measure import Countdown, Failed, clock, images_per_second, in_child, spread, table
from torch import nn
from torch.utils.data import DataLoader
from training_run import Run, complete_spec

from ssl_core.encoders import build_encoder
from ssl_core.methods import build_method
from ssl_core.methods.moco import queue_similarities
from ssl_core.methods.simclr import cross_view_similarities
from ssl_core.parts.pair_loss import pair_loss
from support.printed import tables

FAST = "squeezenet1_1"  # the network that trains fastest here


def script(name: str, *arguments: str, cwd: Path) -> str:
    """What a script printed on stdout."""
    command = [sys.executable, str(measure.ROOT / "benchmarks" / name), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=230, cwd=cwd, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def numbers(cell: str) -> list[float]:
    """minimum, median and maximum, or the one value that there is."""
    return [float(part.strip(" *%s").replace(",", "")) for part in cell.split(" / ")]


class TestTraining:
    @pytest.mark.timeout(240)
    def test_they_take_turns_and_ratios_are_theirs(self, tmp_path):
        """About 25 s: four processes that import torch, three of which train. The other two are below, in this process."""
        options = "--only reference,ours,bare --methods moco_v2 --sizes 16 --stem imagenet --batch 4 --steps 2 --rounds 1"
        options += " --images 40 --queue 8 --workers 1"
        printed = script("training.py", *options.split(), cwd=tmp_path)
        assert "torch 2" in printed.splitlines()[0] and "seed 0" in printed.splitlines()[0]
        (speed_header, speeds), (ratio_header, ratios) = tables(printed)
        assert speeds[:3] == ratios[:3] == ["moco_v2", "16", "imagenet"]
        told = dict(zip(speed_header, speeds, strict=True))
        reference, ours, bare = (float(told[name].replace(",", "")) for name in ("R reference", "O ours", "B bare"))
        assert told["S same architecture"] == told["L lightly"] == ratios[4] == ratios[5] == "–", "they were not asked for"
        assert numbers(ratios[3])[0] == pytest.approx(ours / reference, rel=0.1), ratio_header[3]  # what is printed is rounded
        assert numbers(ratios[6])[0] == pytest.approx(100 * (bare / ours - 1), rel=0.1, abs=3), ratio_header[6]

    def test_pictures_of_yours_are_copied_as_often_as_it_takes(self, cifar, tmp_path):
        training.copy_pictures(cifar / "train", 100, tmp_path)
        assert len(images.jpegs(tmp_path)) == 100
        assert {path.name for path in tmp_path.iterdir()} == {f"class{number}" for number in range(4)}

    def test_ratios_are_of_one_round_and_leave_out_what_failed(self):
        speeds = {"ours": [10.0, 30.0, 20.0], "bare": [12.0, None, 22.0]}
        case = training.Case("moco_v2", 32, "cifar", Path(), Path(), None, speeds, prepared=[4.0, 0.1])
        assert case.ratios("bare", "ours") == pytest.approx([1.2, 1.1])
        (_, speed), (_, ratio) = tables(training.report([case]))
        assert speed[3:] == ["–", "–", "–", "10.0 / **20.0** / 30.0", "12.0 / **17.0** / 22.0", "4.0"]
        assert ratio[3:] == ["–", "–", "–", "10.0% / **15.0%** / 20.0%"]

    def test_too_few_images_are_told_with_what_to_do(self, cifar):
        place = {"arch": "resnet18", "stem": "imagenet", "size": 16, "folder": str(cifar / "test")}
        with pytest.raises(ValueError, match=r"batch = 64 is larger than the images in .*: "):
            peers.measure("lightly", "simclr", **place, batch=64, queue_size=64, workers=0, seed=0, seconds=0, steps=1)


class TestPeers:
    @pytest.fixture
    def views(self) -> list[torch.Tensor]:
        torch.manual_seed(0)
        return [torch.randn(4, 3, 8, 8) for _ in range(2)]

    @pytest.fixture
    def encoder(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU())

    @pytest.mark.parametrize(
        ("peer", "method"), [("same architecture", "simclr"), ("lightly", "moco_v2"), ("lightly", "simclr"), ("lightly", "byol")]
    )
    def test_whole_pipelines_run(self, peer, method, cifar):
        """From files to optimiser steps; the epoch, 6 batches, ends and begins again."""
        place = {"arch": "resnet18", "stem": "imagenet", "size": 16, "folder": str(cifar / "test")}
        answer = peers.measure(peer, method, **place, batch=4, queue_size=8, workers=0, seed=0, seconds=0, steps=2)
        assert 0 < answer["images_per_second"] < 10_000

    @pytest.mark.parametrize("method", training.METHODS)
    @pytest.mark.parametrize("peer", [peers.Reference, peers.Lightly])
    def test_a_step_trains_what_has_gradients_and_moves_the_copy(self, peer, method, views, encoder):
        """Reference: θ' ← m·θ' + (1 - m)·θ before θ moves, from a start where they are equal: θ' stays, and later follows."""
        step = peer(method, encoder, 16, queue_size=8, device=torch.device("cpu"))
        copied = step.lagging if peer is peers.Reference else step.target
        start = [each.clone() for each in step.online.parameters()]
        step((views, torch.zeros(4)))
        moved = [each.clone() for each in step.online.parameters()]
        assert all((a != b).any() for a, b in zip(start, moved, strict=True))
        step((views, torch.zeros(4)))
        m = {"moco_v2": 0.996, "byol": 0.996, "simclr": 0.0 if peer is peers.Reference else 1.0}[method]
        for before, online, target in zip(start, moved, copied.parameters(), strict=True):
            torch.testing.assert_close(target, m * before + (1 - m) * online)

    def test_the_reference_has_the_losses_that_ours_are_tested_against(self, views, encoder):
        """Computed from its own queries and keys by Imprint's functions."""
        for method in training.METHODS:
            step = peers.Reference(method, encoder, 16, queue_size=8, device=torch.device("cpu"))
            loss, keys = step._loss(*views)
            query = nn.functional.normalize(step.predictor(step.online(views[0])), dim=1)
            if method == "byol":
                expected = ((query - keys) ** 2).sum(dim=1).mean()  # the paper's: ‖q - k‖² = 2 - 2⟨q, k⟩
            else:
                negatives = None if step.queue is None else step.queue.T
                pair = cross_view_similarities(query, keys) if negatives is None else queue_similarities(query, keys, negatives)
                expected = pair_loss(*pair, "ce", 0.2)
            torch.testing.assert_close(loss, expected)
            assert not keys.requires_grad

    def test_the_reference_s_queue_holds_the_newest_keys(self, views, encoder):
        """Three batches of 4 in a queue of 8: the third is where the first was."""
        step = peers.Reference("moco_v2", encoder, 16, queue_size=8, device=torch.device("cpu"))
        kept = []
        for _ in range(3):
            with torch.no_grad():
                kept.append(step._loss(*views)[1])
            step((views, torch.zeros(4)))
        torch.testing.assert_close(step.queue, torch.cat([kept[2], kept[1]]).T)


class TestProfile:
    @pytest.mark.timeout(240)
    def test_shares_and_trace_of_a_spec(self, cifar, tmp_path):
        """About 15 s: two processes that import torch, one of which trains, and a profile."""
        spec = {
            "data": {"source": "folder", "path": "cifar10", "size": 32},
            "encoder": {"arch": FAST},
            "method": {"name": "byol"},
            "trainer": {"batch_size": 8},
        }
        (tmp_path / "spec.json").write_text(json.dumps(spec))
        trace = tmp_path / "trace.json"
        options = [str(tmp_path / "spec.json"), "--preset", "byol", "--steps", "3", "--trace", str(trace)]
        printed = script("profile_step.py", *options, cwd=cifar.parent)
        assert f"byol, {FAST}" in printed and "batch 8" in printed and "mean of 2 steps" in printed
        (_, *stages, step) = tables(printed)[0]
        assert [stage[0] for stage in stages] == [*profile_step.NAMES.values()]
        milliseconds = [float(stage[1].replace(",", "")) for stage in stages]
        whole = float(step[1].replace(",", ""))
        assert sum(milliseconds) == pytest.approx(whole, rel=0.05, abs=0.5)
        assert max(stages, key=lambda stage: float(stage[1].replace(",", "")))[0] == "forward and backward"
        assert 8000 / whole == pytest.approx(float(step[3].split()[0].replace(",", "")), rel=0.01)
        named = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
        assert {"drawing views", "the method's step"} <= named

    def test_rows_by_hand(self):
        """100 images/s at batch 50: a step takes 500 ms; half of it is 250 ms and 20 of 40 characters."""
        values = {f"{name}_share": 0.0 for name in profile_step.NAMES} | {
            "forward_backward_share": 0.5,
            "images_per_second": 100.0,
        }
        rows = profile_step.rows(values, batch=50)
        assert rows[2] == ["forward and backward", "250.0", "50.0%", "█" * 20]
        assert rows[-1] == ["a step", "500.0", "", "100.0 images/s"]


class TestGpu:
    @pytest.mark.timeout(240)
    def test_every_part_on_a_cpu(self, cifar, tmp_path):
        """About 40 s: five processes that import torch, four of which train."""
        network = f"--arch {FAST} --stem auto --vit timm/vit_tiny_patch16_224 --vit-size 32 --vit-batch 4"
        options = f"--only step,epoch,vit,knn --device cpu --recipe simclr --epochs 6 --batch 8 --rounds 1 --steps 2 {network}"
        printed = script("gpu.py", "--data", str(cifar), *options.split(), cwd=tmp_path)
        header, share, epoch, vit, knn, stretch = tables(printed)[0]
        assert header == ["what", "measured", "goal", ""]
        assert 20 < numbers(share[1])[0] < 150 and "6 steps" not in printed
        images_per_second = float(share[0].split("training ")[1].split(",")[0])
        assert numbers(epoch[1])[0] == pytest.approx(48 / images_per_second, rel=0.1)
        assert epoch[3] == "reached" and vit[3] == "**not reached**"
        assert "after 6 of 6 epochs" in knn[0] and 0 <= float(knn[1].split()[0]) <= 100
        assert stretch[1] == knn[1].split()[0]

    def test_data_without_a_test_folder_is_refused(self, tmp_path):
        (tmp_path / "train").mkdir()
        with pytest.raises(SystemExit, match=r"has no test/"), gpu.unpacked(tmp_path):
            pass


class TestRun:
    def test_a_run_that_cannot_work_says_why(self, cifar, tmp_path):
        """About 5 s: the trainer imports torch before it finds out."""
        sections = {"data": {"source": "folder", "path": cifar.name, "size": 32}, "encoder": {"arch": FAST}}
        spec = complete_spec(sections, "simclr", cifar.parent)
        spec = spec.changed(trainer={**spec.trainer.model_dump(), "batch_size": 64})
        with Run(spec, tmp_path / "run", cifar.parent) as run, pytest.raises(Failed, match=r"invalid_spec: batch_size = 64"):
            run.speed(seconds=0)

    def test_a_bare_step_of_no_spec_says_why(self):
        """About 4 s: a process that imports torch."""
        with pytest.raises(Failed, match=r"^bare\.py: "):
            in_child("bare.py", {"spec": {}, "seconds": 0})


class TestBare:
    @pytest.mark.parametrize("clip", [None, 0.5])
    def test_it_is_the_step_of_training(self, cifar, clip):
        """Three steps end with the weights, target and schedules of three steps in Lightning's Trainer, to the bit."""
        sections = {
            "data": {"source": "folder", "path": cifar.name, "size": 32},
            "encoder": {"arch": FAST},
            "optim": {"name": "lars", "lr": 0.5, "warmup_epochs": 0},
            "trainer": {"batch_size": 4, "precision": "fp32", "gradient_clip": clip},
        }
        spec = complete_spec(sections, "byol", cifar.parent)
        torch.manual_seed(0)
        batches = [bare.draw(spec, bare.some_images(spec)) for _ in range(3)]
        torch.manual_seed(0)
        stepped, step = bare.bare_step(spec, total_steps=3)
        bare.without_watching(stepped)
        for batch in batches:
            step(batch)
        torch.manual_seed(0)
        encoder = build_encoder(FAST, 32)
        trained = build_method(encoder, encoder.dim, spec.method, spec.optim).to(memory_format=torch.channels_last)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = pl.Trainer(accelerator="cpu", devices=1, max_epochs=1, gradient_clip_val=clip, **quiet)
        trainer.fit(trained, DataLoader(batches, batch_size=None))
        start = build_encoder(FAST, 32).state_dict()
        for name, value in trained.state_dict().items():
            torch.testing.assert_close(stepped.state_dict()[name], value, rtol=0, atol=0, msg=name)
        assert any((trained.branches.encoder.state_dict()[name] != value).any() for name, value in start.items())
        assert not stepped.latest.keys() & {"positive_cosine", "contrast_top1"}


class TestMeasure:
    def test_steps_are_counted_after_the_warm_up(self, monkeypatch):
        """A clock that moves 1 s with each step: 3 steps of 10 images in 3 s are 10 images/s, whatever the first took."""
        now = [0.0]
        monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

        def step(seconds: float) -> None:
            now[0] += seconds

        def seconds_of_steps():
            yield 100.0
            yield from repeat(1.0)

        assert images_per_second(step, seconds_of_steps(), 10, seconds=0, steps=3) == pytest.approx(10)
        assert images_per_second(step, seconds_of_steps(), 10, seconds=2.5) == pytest.approx(10)
        assert now[0] == 2 * 100 + 3 + 3, "whole steps until the seconds are over"

    def test_cells(self):
        assert spread([3.0, 1.0, 2.0]) == "1 / **2** / 3"
        assert spread([0.5], "{:.0%}") == "50%" and spread([]) == "–"
        assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
        assert clock(59.6) == "1:00" and clock(3661) == "1:01:01"

    def test_what_is_left_is_corrected_by_what_was_guessed_wrong(self, monkeypatch):
        """Guessed 10, 20 and 30 s; the first took 15: the others will take 75."""
        now = [0.0]
        monkeypatch.setattr(measure.time, "monotonic", lambda: now[0])
        countdown = Countdown([10, 20, 30])
        assert countdown.left() == 60
        countdown.next("the first")
        now[0] = 15.0
        assert countdown.left() == 75
