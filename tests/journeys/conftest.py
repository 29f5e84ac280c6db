"""One running service for all journeys, and one job that nothing ever disturbed, to compare the others with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from imprint.client import Job
from support.composed import free_port
from support.service import Service

HEAD = {"layers": 2, "hidden_dim": 32, "out_dim": 16, "norm": "bn"}
INTERVAL = 0.3  # seconds between two checkpoints


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
        "evaluate": {"every_epochs": 10},
        "trainer": {
            "max_epochs": 30,
            "batch_size": 16,
            "precision": "fp32",
            "log_every_steps": 1,
            "checkpoint_every_seconds": INTERVAL,
            **trainer,
        },
    }


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with 80 pictures of two kinds, flat and striped, in class folders."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for index in range(80):
        pixels = np.full((16, 16, 3), generator.integers(40, 220, 3), np.uint8)
        if index % 2:
            pixels[:: 2 + index % 3] = generator.integers(0, 255, 3)
        folder = root / "pictures" / ("striped" if index % 2 else "flat")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    return root


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Service]:
    """Broker and API up until the last journey has ended; then nothing of it may be left."""
    service = Service(tmp_path_factory.mktemp("service"), pictures, free_port())
    try:
        service.start_broker()
        service.start_api()
        yield service
    finally:
        service.close()
    assert service.trainers() == [], "a trainer outlived its worker"
    assert service.api.exit_code in (0, -15), service.api.tail()  # uvicorn ends itself by the signal it has obeyed


@pytest.fixture
def service(running: Service) -> Iterator[Service]:
    """The service with a broker, an API and one worker, and nothing to do."""
    running.start_broker()
    if not running.worker.running:
        running.start_worker()
    yield running
    running.rest()


@pytest.fixture(scope="session")
def undisturbed(running: Service) -> Undisturbed:
    """See Undisturbed. Needs a worker: ask for `service` first."""
    if not running.worker.running:
        running.start_worker()
    began = time.monotonic()
    job = running.client.submit(name="undisturbed", labels={"team": "a"}, **spec())
    assert job.status == "queued" and job.attempt == 0
    running.until(lambda: (running.job(job.id).progress.step or 0) >= 1, "the first step")
    to_first_step = time.monotonic() - began
    ended = running.succeeded(job.id)
    assert ended.attempt == 1 and ended.encoder is not None
    return Undisturbed(ended, running.home / "encoders" / f"{ended.encoder}.1", to_first_step)


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
