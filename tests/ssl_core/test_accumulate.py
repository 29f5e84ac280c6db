"""A batch in parts: the gradients add up to those of the whole, and a run in parts can be stopped and resumed like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ssl_core.events import Events, Stopped
from ssl_core.spec import TrainSpec, ValidationError
from ssl_core.train import train

HEAD = {"layers": 2, "hidden_dim": 32, "out_dim": 16, "norm": "ln"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    (root / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for number in range(40):
        pixels = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / f"{number:02}.png")
    return root


def spec(arch: str, **trainer: Any) -> TrainSpec:
    return TrainSpec.model_validate(
        {
            "data": {"source": "folder", "path": "pictures", "size": 32, "held_out": 0.2},
            "encoder": {"arch": arch},
            "method": {"name": "byol", "branches": {"projector": HEAD, "predictor": HEAD}},
            "optim": {"name": "sgd", "lr": 0.05, "exclude": "none"},
            "trainer": {"max_epochs": 2, "batch_size": 16, "precision": "fp32", "log_every_steps": 1, **trainer},
        }
    )


def weights(
    spec: TrainSpec, out: Path, root: Path, stop_at: int | None = None, resume: list[Path] | None = None
) -> dict[str, Any]:
    asked = iter(range(1000))
    events = Events(None, None)
    train(
        spec, out, data_root=root, events=events, resume=resume or (),
        asked_to_stop=lambda: stop_at is not None and next(asked) >= stop_at,
    )  # fmt: skip
    return load_file(out / "encoder" / "model.safetensors")


def test_the_parts_add_up_to_the_whole(tmp_path: Path, root: Path) -> None:
    """A network and heads without batch norm, and a loss that is a mean over images: parts change nothing but rounding."""
    network = "timm/test_vit"
    whole = weights(spec(network), tmp_path / "whole", root)
    parts = weights(spec(network, accumulate=4), tmp_path / "parts", root)
    other = weights(spec(network, batch_size=4), tmp_path / "other", root)
    for name, expected in whole.items():
        torch.testing.assert_close(parts[name], expected, rtol=1e-3, atol=2e-5, msg=name)
    assert any((other[name] - expected).abs().max() > 1e-3 for name, expected in whole.items()), "or nothing was learned"


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, root: Path) -> None:
    cut = spec("shufflenet_v2_x0_5", accumulate=2)
    whole = weights(cut, tmp_path / "whole", root)
    with pytest.raises(Stopped) as stopped:
        weights(cut, tmp_path / "1", root, stop_at=3)
    assert 0 < stopped.value.step < 4
    again = weights(cut, tmp_path / "2", root, resume=[tmp_path / "1"])
    assert all(torch.equal(again[name], expected) for name, expected in whole.items())


@pytest.mark.parametrize(
    ("trainer", "data", "said"),
    [
        ({"accumulate": 3}, {}, "multiple of devices × accumulate = 1 × 3"),
        ({"accumulate": 2, "devices": 8}, {}, "devices × accumulate = 8 × 2, with at least 2 images for each"),
        ({"accumulate": 2}, {"drop_last": False}, "needs batches of one size"),
    ],
)
def test_unequal_parts_are_refused(trainer: dict[str, Any], data: dict[str, Any], said: str) -> None:
    given = spec("resnet18").model_dump()
    given["trainer"] |= trainer
    given["data"] |= data
    with pytest.raises(ValidationError, match=said):
        TrainSpec.model_validate(given)
