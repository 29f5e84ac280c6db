"""What happens between two steps: when a run is evaluated, and what each report tells of the step."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssl_core.clock import STAGES
from ssl_core.compiling import Compiler
from ssl_core.data.batches import TrainBatches
from ssl_core.data.store import InMemoryStore
from ssl_core.evaluation import EvaluationData
from ssl_core.events import Events
from ssl_core.loop import BetweenSteps
from ssl_core.spec import TrainSpec
from ssl_core.stream import Stream
from ssl_core.train import train


def between(epochs: int, **evaluate: Any) -> BetweenSteps:
    """The callback of a run of so many epochs, of which nothing is run."""
    spec = TrainSpec.model_validate(
        {"data": {"source": "digits"}, "trainer": {"max_epochs": epochs, "batch_size": 4}, "evaluate": evaluate}
    )
    stream = Stream(TrainBatches(InMemoryStore(torch.zeros(8, 3, 8, 8, dtype=torch.uint8)), 4, 0), epochs, 0)
    nothing = EvaluationData(None, None, 8, (0.5,), (0.5,))
    return BetweenSteps(spec, Events(None), Path(), stream, nothing, Compiler("off", [], False), lambda: False)


def evaluated(loop: BetweenSteps, epochs: int, epoch_seconds: float, evaluation_seconds: float) -> list[int]:
    """After which epochs a run with such an epoch and such an evaluation is evaluated; time is moved by hand."""
    trainer: Any = SimpleNamespace(world_size=1, is_global_zero=True)
    trained = 0.0
    loop._trained = lambda: trained  # type: ignore[method-assign]
    loop._evaluation_took = evaluation_seconds  # that of the random weights
    found = []
    for epoch in range(1, epochs + 1):
        trained += epoch_seconds
        if loop._evaluates_after(trainer, epoch):
            found.append(epoch)
            loop._evaluated_epoch, loop._evaluated_at = epoch, trained
    return found


class TestEvaluations:
    def test_about_ten_times_where_they_are_cheap(self) -> None:
        assert evaluated(between(100), 100, 60, 1) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        assert evaluated(between(5), 5, 60, 1) == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("evaluation_seconds", [3, 10, 50, 200])
    def test_those_in_between_take_no_more_than_a_twentieth(self, evaluation_seconds: float) -> None:
        found = evaluated(between(100), 100, 2, evaluation_seconds)
        assert found[-1] == 100
        assert (len(found) - 1) * evaluation_seconds <= 0.05 * 100 * 2

    def test_as_often_as_asked_for_whatever_it_takes(self) -> None:
        assert evaluated(between(10, every_epochs=3), 10, 1, 1000) == [3, 6, 9, 10]


def test_every_report_tells_where_the_step_went(tmp_path: Path) -> None:
    spec = TrainSpec.model_validate(
        {
            "data": {"source": "digits", "size": 16},
            "encoder": {"arch": "shufflenet_v2_x0_5"},
            "method": {"name": "byol"},
            "trainer": {"max_epochs": 1, "batch_size": 256, "precision": "fp32", "log_every_steps": 2},
            "evaluate": {"linear": "off", "max_images": 50},
        }
    )
    events = Events(tmp_path / "events.jsonl")
    train(spec, tmp_path, data_root=tmp_path, events=events)
    events.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    reports = [line["values"] for line in lines if line["type"] == "metrics" and "train_loss" in line["values"]]
    assert len(reports) == 4  # after steps 1, 2, 4 and the last, 5
    for values in reports:
        shares = [values[f"{name}_share"] for name in (*STAGES, "other")]
        assert sum(shares) == pytest.approx(1, abs=1e-6)
        assert values["images_per_second"] > 0
        assert values["forward_backward_share"] > max(values["optimizer_share"], values["ema_share"]) > 0
    # A report is made when the views of the next step are drawn already, so the last one has none of its own.
    assert all(values["augment_share"] > 0 for values in reports[:-1])
