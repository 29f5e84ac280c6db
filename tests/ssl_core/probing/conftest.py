"""A tiny encoder, and labelled pictures that random weights can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import FolderData, TrainSpec

CLASSES = ("blue", "green", "red")
COUNT = 60  # pictures, 20 of each class


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network of random weights for 16 px."""
    torch.manual_seed(0)
    spec = TrainSpec(data=FolderData(path="colours", size=16, mean=(0.5,), std=(0.25,)))
    facts = {"images": 1, "fingerprint": "sha256:0", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    network = build_encoder("shufflenet_v2_x0_5", 16, "auto").eval()
    return export_encoder(network, spec, facts, {}, tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root: colours/<class>/<n>.png, of three tints with noise, and one file that is no picture."""
    place, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(COUNT):
        label = number % 3
        pixels = random.integers(0, 120, (16, 16, 3))
        pixels[:, :, 2 - label] += 90
        file = place / "colours" / CLASSES[label] / f"{number:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    (place / "colours" / "red" / "broken.jpg").write_bytes(b"no picture")
    lines = [f"{file.parent.name}/{file.name},{file.parent.name}" for file in sorted(place.rglob("*.png"))]
    (place / "labels.csv").write_text("\n".join(["path,label", *lines]))
    return place
