"""Runs that collapse, settle or blow up: what is told, when, and how they end. Real training of tiny networks.

The runs take 3 to 10 s each: they train for some epochs, and most export an encoder.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_core import checkpoints
from ssl_core.events import Events
from ssl_core.health import ALARMS, embedding_std
from ssl_core.loop import Diverged
from ssl_core.methods import build_method
from ssl_core.spec import MoCoConfig, OptimConfig, SimCLRConfig, TrainSpec, VICRegConfig
from ssl_core.train import train
from ssl_core.vitals import Collapsed, gradient_norm, spread_of_the_batch

HEAD = {"layers": 2, "hidden_dim": 32, "out_dim": 16}
SHARED = {"name": "byol", "branches": {"target": "shared", "projector": HEAD, "predictor": {"layers": 0}}}
SHRINKING = {"name": "vicreg", "branches": {"target": "shared", "projector": HEAD, "normalize": False}}
SIMCLR = {"name": "simclr", "branches": {"target": "shared", "projector": HEAD}}


def spec(method: dict[str, Any], epochs: int = 2, **trainer: Any) -> TrainSpec:
    return TrainSpec.model_validate(
        {
            "data": {"source": "digits", "size": 16},
            "encoder": {"arch": "resnet18", "stem": "imagenet"},  # no depthwise kernels: see health/verdict.py, _diverged
            "method": method,
            "augment": {"flip": 0.0, "jitter": 0.0, "grayscale": 0.0, "blur": 0.0, "crop_scale": (0.6, 1.0)},
            "optim": {"name": "sgd", "lr": 0.05},
            "evaluate": {"linear": "off", "max_images": 100, "every_epochs": 1},
            "trainer": {"max_epochs": epochs, "batch_size": 64, "precision": "fp32", "log_every_steps": 3, **trainer},
        }
    )


def run(spec: TrainSpec, out: Path, resume: list[Path] | None = None) -> list[dict[str, Any]]:
    out.mkdir(parents=True)
    events = Events(out / "events.jsonl")
    try:
        train(spec, out, data_root=out, events=events, resume=resume or [])
    finally:
        events.close()
    return read(out)


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def told(events: list[dict[str, Any]]) -> list[str]:
    return [event["verdict"] for event in events if event["type"] == "health"]


def test_a_healthy_run_tells_all_measures_and_raises_no_alarm(tmp_path: Path) -> None:
    events = run(spec(SIMCLR), tmp_path / "1")
    assert told(events)[0] == "warming_up" and told(events)[-1] == "healthy" and not ALARMS & set(told(events))
    values: dict[str, float] = {}
    for event in events:
        if event["type"] == "metrics":
            values |= event["values"]
    assert values["loss_at_chance"] == pytest.approx(math.log(127))
    assert 0 <= values["alignment"] <= 2 and -4 <= values["uniformity"] < 0 and values["alpha_req"] > 0
    assert values["gradient_norm"] > 0 and 0 < values["batch_std"] < 1.1 and 1 <= values["batch_rank"] <= 16


def test_a_collapse_between_two_evaluations_is_told_within_steps_and_only_warned_of(tmp_path: Path) -> None:
    """BYOL without predictor and target network: the constant answer is the optimum, and nothing forbids it."""
    calm = spec(SHARED, epochs=4).changed(evaluate={"linear": "off", "max_images": 100, "every_epochs": 100})
    events = run(calm, tmp_path / "1")
    warned = [event["message"] for event in events if event["type"] == "warning"]
    assert any(message.startswith("collaps") and "try:" in message for message in warned)
    caught = next(event for event in events if event["type"] == "health" and event["verdict"] == "collapsed")
    assert caught["step"] <= 60 and "projection" in caught["reasons"][0] and caught["suggestions"]
    assert events[-1]["type"] == "encoder", "to warn is not to stop"


def test_on_collapse_stop_ends_with_status_4_a_code_and_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(Collapsed, match=r"collapsed by step \d+: all images") as caught:
        run(spec(SHARED, epochs=4, on_collapse="stop"), tmp_path / "1")
    assert "lower optim.lr" in caught.value.hint
    (tmp_path / "spec.json").write_text(spec(SHARED, epochs=4, on_collapse="stop").model_dump_json())
    command = [sys.executable, "-m", "ssl_core", str(tmp_path / "spec.json"), "--out", str(tmp_path / "2")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 4, ended.stderr
    error = read(tmp_path / "2")[-1]
    assert (error["type"], error["code"]) == ("error", "collapsed") and "optim.lr" in error["hint"]
    assert "health  collapsed: all images" in ended.stderr


def test_divergence_is_a_verdict_too(tmp_path: Path) -> None:
    hot = spec(SIMCLR, epochs=20).changed(optim={"name": "sgd", "lr": 1000.0, "exclude": "none", "weight_decay": 1.0})
    with pytest.raises(Diverged):
        run(hot, tmp_path / "1")
    assert told(read(tmp_path / "1"))[-1] == "diverged"


def test_early_stop_ends_well_exports_and_stays_over_when_resumed(tmp_path: Path) -> None:
    """At a hundredth of a step's length nothing moves, so that a run of 30 epochs has settled after a few."""
    early = {"measure": "effective_rank", "patience": 1, "min_change": 0.9}
    patient = spec(SIMCLR, epochs=30, early_stop=early)
    events = run(patient, tmp_path / "1")
    steps = 1437 // 64
    (said,) = [event["message"] for event in events if event["type"] == "note"]
    assert "stopped early, after step" in said and "effective_rank" in said and f"of {30 * steps}" in said
    assert events[-1]["type"] == "encoder"
    last = checkpoints.newest([tmp_path / "1" / "checkpoints"])
    assert last is not None and last.step < 30 * steps and last.step % steps == 0
    again = run(patient, tmp_path / "2", resume=[tmp_path / "1"])
    assert again[-1]["type"] == "encoder" and not [event for event in again if event["type"] == "progress"], "it only exports"


class TestOfABatch:
    def test_gradient_norm_is_that_of_all_gradients_together(self) -> None:
        """Gradients 3 and 4 in all places: √(9·a + 16·b)."""
        method = build_method(torch.nn.Linear(4, 4), 4, SimCLRConfig.model_validate(SIMCLR), OptimConfig())
        for number, parameter in enumerate(method.parameters()):
            parameter.grad = torch.full_like(parameter, 3.0 + number % 2)
        squares = sum(parameter.numel() * (9, 16)[number % 2] for number, parameter in enumerate(method.parameters()))
        assert float(gradient_norm(method)) == pytest.approx(math.sqrt(squares))

    def test_the_spread_is_that_of_the_newest_projections(self) -> None:
        method = build_method(torch.nn.Linear(4, 4), 4, SimCLRConfig.model_validate(SIMCLR), OptimConfig())
        assert spread_of_the_batch(method) == {}
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
        projection = method.branches.query(x).projection
        assert spread_of_the_batch(method)["batch_std"] == pytest.approx(embedding_std(projection.detach()))
        small = build_method(torch.nn.Linear(4, 4), 4, VICRegConfig.model_validate(SHRINKING), OptimConfig())
        shrunk = small.branches.query(x).projection.detach()
        length = float(shrunk.std(dim=0).mean())
        assert length < embedding_std(shrunk) and spread_of_the_batch(small)["batch_std"] == pytest.approx(length)
        method.branches.query(x / 0)
        assert math.isnan(spread_of_the_batch(method)["batch_rank"]), "no decomposition of what is not finite"

    @pytest.mark.parametrize("symmetric", [False, True])
    def test_chance_is_what_the_loss_is_when_all_similarities_are_equal(self, symmetric: bool) -> None:
        """By the methods' own losses, on similarities that are all 0.3."""
        for alpha in (None, 500.0):
            loss = {"kind": "ce", "eqco_alpha": alpha}
            config = MoCoConfig.model_validate({"queue_size": 40, "loss": loss, "loss_scale": 3.0, "symmetric": symmetric})
            moco = build_method(torch.nn.Linear(4, 4), 4, config, OptimConfig())
            one_way = moco._loss(torch.full((8, 41), 0.3), torch.zeros(8, dtype=torch.long))
            gauges = moco.gauges(2, 8)
            assert gauges["loss_at_chance"] == pytest.approx(3 * (1 + symmetric) * float(one_way), rel=1e-5)
            assert gauges["queue_filled"] == pytest.approx(16 / 40) and moco.gauges(50, 8)["queue_filled"] == 1.0
            for negatives, columns in (("nt_xent", 15), ("cross_view", 8)):
                body = {**SIMCLR, "loss": loss, "negatives": negatives, "symmetric": symmetric}
                simclr = build_method(torch.nn.Linear(4, 4), 4, SimCLRConfig.model_validate(body), OptimConfig())
                one = float(simclr._loss(torch.full((8, columns), 0.3), torch.zeros(8, dtype=torch.long)))
                ways = 2 if symmetric and negatives == "cross_view" else 1
                assert simclr.gauges(1, 8)["loss_at_chance"] == pytest.approx(ways * one, rel=1e-5)
