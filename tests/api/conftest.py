"""A real service for the tests of the API: uvicorn in a thread, SQLite migrated by Alembic, a broker that is away."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from api.deps import Services
from api.main import create_app
from api.protocol import bounded
from jobs.artifacts import Artifacts
from jobs.records import EncoderDraft, JobDraft, JobRecord
from jobs.repository import Repository
from jobs.settings import Settings
from ssl_core.spec import DigitsData, TrainSpec


@dataclass
class Running:
    """A service that listens, and the parts behind it."""

    http: httpx.Client
    services: Services

    @property
    def repository(self) -> Repository:
        return self.services.repository

    @property
    def home(self) -> Path:
        return self.services.settings.home

    @property
    def data_root(self) -> Path:
        return self.services.settings.data_root


@contextmanager
def serve(home: Path, *, warm: bool = False, **fields: Any) -> Iterator[Running]:
    """Run the whole application on a free port."""
    home.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "home": home,
        "data_root": home / "data",
        "database_url": f"sqlite:///{home}/imprint.db",
        "redis_url": f"redis+socket://{home}/no-broker.sock",
        **fields,
    }
    settings = Settings(**given)
    app = create_app(settings, warm=warm)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                log_config=None,  # as `python -m api`; uvicorn's own closes other handlers, and with them pytest's stderr
                lifespan="on",
                timeout_graceful_shutdown=3,
                http=bounded(settings.head_seconds),
            )
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            until = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive() and time.monotonic() < until, "the service did not start"
                time.sleep(0.01)
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as http:
                yield Running(http, app.state.services)
        finally:
            server.should_exit = True
            thread.join(15)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for the tests of a file."""
    with serve(tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported ResNet-18 for 32 px, random weights."""
    from ssl_core.encoders import build_encoder
    from ssl_core.export import export_encoder

    spec = TrainSpec(data=DigitsData(size=32, mean=(0.5,), std=(0.25,)))
    facts = {"source": "digits", "images": 1437, "fingerprint": "sha256:0", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    encoder = build_encoder("resnet18", 32, "imagenet").eval()
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return export_encoder(encoder, spec, facts, {"knn_top1": 50.0}, tmp_path_factory.mktemp("exported"), images)


@pytest.fixture(scope="session")
def start() -> Callable[..., Any]:
    """`with start(home, api_keys=...) as running` runs another service."""
    return serve


def put_job(service: Running, **fields: Any) -> JobRecord:
    """A queued job, straight into the database."""
    spec = TrainSpec(data=DigitsData()).model_dump(mode="json")
    given: dict[str, Any] = {"name": None, "kind": "pretrain", "method": "simclr", "spec": spec, "labels": {}, **fields}
    return service.repository.create(JobDraft(**given))


def new_encoder(service: Running, exported: Path, **fields: Any) -> JobRecord:
    """A job that has succeeded, with the exported encoder as its own."""
    job = put_job(service, **fields)
    claim = service.repository.claim(job.id, "test", 60)
    assert claim is not None
    folder = Artifacts(service.home).publish(job.id, claim.attempt, exported)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
    service.repository.succeed(job.id, claim.attempt, EncoderDraft(folder=str(folder), **known))
    return service.repository.get(job.id)


@pytest.fixture
def submit(service: Running) -> Callable[..., JobRecord]:
    """submit(name=..., labels=...) makes a queued job."""
    return partial(put_job, service)


@pytest.fixture
def publish(service: Running, exported: Path) -> Callable[..., JobRecord]:
    """publish() makes a job that has succeeded and its encoder."""
    return partial(new_encoder, service, exported)


@pytest.fixture(scope="session")
def put_encoder() -> Callable[..., JobRecord]:
    """put_encoder(service, exported) is `publish` for another service."""
    return new_encoder


@pytest.fixture(scope="module")
def published(service: Running, exported: Path) -> JobRecord:
    """One such job for the tests of a file."""
    return new_encoder(service, exported)


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """picture(seed) is the file of a small picture of noise."""

    def make(seed: int = 0, side: int = 40, form: str = "PNG") -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form)
        return file.getvalue()

    return make
