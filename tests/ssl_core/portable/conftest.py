"""Exported encoders to send away: small ones, each of a family of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import DigitsData, TrainSpec


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """encoder_folder(arch, size, stem) is the folder of an encoder with random weights; the same for the same arguments."""
    made: dict[tuple[str, int, str], Path] = {}

    def make(arch: str = "resnet18", size: int = 32, stem: str = "auto") -> Path:
        if (arch, size, stem) not in made:
            torch.manual_seed(0)
            encoder = build_encoder(arch, size, stem)
            for name, value in encoder.backbone.named_buffers():
                if name.endswith("running_mean"):  # not those of a network that has seen nothing
                    value.normal_(0, 0.1)
            spec = TrainSpec(data=DigitsData(size=size))
            facts = {"source": "digits", "images": 1437, "fingerprint": "sha256:0", "short_side": size + 5}
            facts |= {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.2, 0.3)}
            out = tmp_path_factory.mktemp("encoder")
            made[arch, size, stem] = export_encoder(encoder.eval(), spec, facts, {"knn_top1": 91.25}, out)
        return made[arch, size, stem]

    return make


@pytest.fixture(scope="session")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with picture.jpg, which is no square."""
    folder = tmp_path_factory.mktemp("pictures")
    ramp = np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3)
    waves = 60 * np.sin(np.arange(80) / 5)[None, :, None]
    Image.fromarray(np.clip(ramp + waves, 0, 255).astype(np.uint8)).save(folder / "picture.jpg", quality=95)
    return folder
