"""What the journeys have in common: tiny pictures, a job of a few seconds, and the comparison with one that nothing disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from imprint.records import Job
from support.service import Service

HEAD = {"layers": 2, "hidden_dim": 32, "out_dim": 16, "norm": "bn"}
PICTURES, BATCH, EPOCHS = 80, 16, 40
INTERVAL = 0.2  # seconds between two checkpoints


@dataclass(frozen=True)
class Undisturbed:
    """A job that ran from its first to its last step in one go."""

    job: Job
    folder: Path
    """Where its encoder was published."""
    to_first_step: float
    """Seconds from sending the job to seeing its first step, over HTTP."""


def spec(**trainer: Any) -> dict[str, Any]:
    """The body of POST /jobs: a few seconds of training."""
    return {
        "data": {"source": "folder", "path": "pictures", "size": 16, "held_out": 0.2},
        "encoder": {"arch": "shufflenet_v2_x0_5"},
        "method": {"name": "moco", "queue_size": 40, "branches": {"projector": HEAD, "shuffle_bn": True, "bn_splits": 2}},
        "optim": {"name": "sgd", "lr": 0.05, "warmup_epochs": 1},
        "evaluate": {"every_epochs": EPOCHS // 2},
        "trainer": {
            "max_epochs": EPOCHS,
            "batch_size": BATCH,
            "precision": "fp32",
            "log_every_steps": 1,
            "checkpoint_every_seconds": INTERVAL,
            **trainer,
        },
    }


def draw_pictures(root: Path) -> None:
    """80 pictures of two kinds, flat and striped, in class folders below root/pictures; one more file that is none."""
    generator = np.random.default_rng(0)
    for index in range(PICTURES):
        pixels = np.full((16, 16, 3), generator.integers(40, 220, 3), np.uint8)
        if index % 2:
            pixels[:: 2 + index % 3] = generator.integers(0, 255, 3)
        folder = root / "pictures" / ("striped" if index % 2 else "flat")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    (root / "pictures" / "flat" / "broken.jpg").write_bytes(b"no picture")


def assert_same_weights(service: Service, job: Job, undisturbed: Undisturbed) -> None:
    """The job has published one encoder, and it is the undisturbed one, bit for bit."""
    assert job.encoder is not None
    assert service.published(job.encoder) == [service.home / "encoders" / f"{job.encoder}.{job.attempt}"]
    assert [each.id for each in service.client.encoders() if each.job_id == job.id] == [job.encoder]
    expected, found = (
        load_file(folder / "model.safetensors") for folder in (undisturbed.folder, service.published(job.encoder)[0])
    )
    assert expected.keys() == found.keys()
    different = [name for name in expected if not np.array_equal(expected[name], found[name])]
    assert not different, f"{len(different)} of {len(expected)} tensors differ, {different[0]} first"
