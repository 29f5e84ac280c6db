from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_core.encoders import Encoder, build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import EncoderConfig, FolderData, TrainSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="session")
def images() -> Callable[..., Any]:
    """images(count, size) are smooth pictures with some noise, uint8 (count, size, size, 3)."""

    def make(count: int, size: int = 32, seed: int = 0) -> Any:
        random = np.random.default_rng(seed)
        coarse = torch.from_numpy(random.uniform(0, 220, (count, 3, 4, 4)))
        smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").permute(0, 2, 3, 1).numpy()
        return (smooth + random.uniform(0, 35, smooth.shape)).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def trained() -> Callable[..., Encoder]:
    """trained(arch, size) is a network whose batch statistics are no longer those of the start, so that they count."""

    def make(arch: str, size: int = 32, seed: int = 0) -> Encoder:
        torch.manual_seed(seed)
        encoder = build_encoder(arch, size)
        with torch.no_grad():
            for _ in range(3):
                encoder(torch.randn(4, 3, size, size) * 2 + 1)
        return encoder

    return make


@pytest.fixture(scope="session")
def export() -> Callable[..., Path]:
    """export(encoder, folder, images) exports it as at the end of a job."""

    def make(encoder: Encoder, folder: Path, images: Any = None) -> Path:
        data = FolderData(path="p", size=encoder.size, mean=MEAN, std=STD)
        spec = TrainSpec(data=data, encoder=EncoderConfig(arch=encoder.arch))
        facts = {"images": 10, "fingerprint": "sha256:abc", "short_side": encoder.size}
        return export_encoder(encoder, spec, facts, {}, folder, images)

    return make


@pytest.fixture(scope="session")
def exported(trained: Any, export: Any, images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 for 32 px, exported with 100 images. Not to be changed."""
    return export(trained("resnet18"), tmp_path_factory.mktemp("kept"), images(100))
