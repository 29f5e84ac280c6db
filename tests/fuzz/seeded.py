"""A real service to be fuzzed: `python -m api` on SQLite, with something of every kind in it, so that requests can succeed too.

No broker and no worker: jobs are accepted and wait, as the service promises without them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imprint.child import die_with_parent
from jobs.artifacts import Artifacts
from jobs.database import connect, migrate
from jobs.records import DatasetDraft, EncoderDraft, JobDraft, Point, Report, ResultDraft
from jobs.repository import Repository
from ssl_core.spec import DigitsData, TrainSpec
from support.composed import free_port
from support.vectors import clustered, write_vectors

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-fuzzer"
MOST_MEMORY = 12 * 2**30  # bytes of addresses; a request that wants more is a fault, and must not take the machine along


@dataclass(frozen=True)
class Seeded:
    """Ids of what is there, for requests that shall find something."""

    queued: str
    succeeded: str
    embedded: str
    encoder: str
    dataset: str


@dataclass(frozen=True)
class Target:
    """The service under fire."""

    url: str
    log: Path
    seeded: Seeded
    process: subprocess.Popen[bytes]

    def faults(self) -> list[str]:
        """Lines of its log that tell of a fault of the service."""
        text = self.log.read_text(errors="replace")
        return [line for line in text.splitlines() if "Traceback" in line or (" failed" in line and " ERROR " in line)]

    def counted(self, label: str) -> dict[str, int]:
        """How many answers it has counted itself, by "status" or "route"."""
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        found: Counter[str] = Counter()
        for line in lines:
            if counted := re.match(rf'imprint_http_requests_total\{{.*{label}="([^"]*)".*\}} (\S+)', line):
                found[counted[1]] += int(float(counted[2]))
        return dict(found)

    def memory(self) -> int:
        """MiB that the process has in memory (Linux; 0 elsewhere)."""
        with contextlib.suppress(OSError):
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20
        return 0


def seed(home: Path) -> Seeded:
    """One job of each interesting state, an encoder of random weights, vectors, a dataset and an alias."""
    from datetime import UTC, datetime

    from ssl_core.encoders import build_encoder
    from ssl_core.export import export_encoder

    photos = home / "data" / "photos"
    random = np.random.default_rng(0)
    for row in range(24):
        path = photos / f"{row % 2}" / f"{row:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(path)
    url = f"sqlite:///{home}/imprint.db"
    migrate(url)
    repository = Repository(connect(url))
    spec = TrainSpec(data=DigitsData(size=32, mean=(0.5,), std=(0.25,)))
    whole = spec.model_dump(mode="json")
    facts = {"source": "digits", "images": 24, "fingerprint": "sha256:0", "mean": (0.5,) * 3, "std": (0.25,) * 3}
    pixels = random.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    encoder = build_encoder("shufflenet_v2_x0_5", 32, "imagenet").eval()
    exported = export_encoder(encoder, spec, facts, {"knn_top1": 50.0}, home / "exported", pixels)

    def running(kind: str, spec: dict[str, object]) -> str:
        job = repository.create(JobDraft(name="seed", kind=kind, method="simclr", spec=spec, labels={"team": "a"})).id
        assert repository.claim(job, "seed", 1e6) is not None
        return job

    queued = repository.create(JobDraft(name=None, kind="pretrain", method="simclr", spec=whole)).id
    succeeded = running("pretrain", whole)
    points = [Point("train_loss", step, 0, 1 / step, datetime.now(UTC)) for step in range(1, 6)]
    repository.record(succeeded, 1, Report({"epoch": 1, "step": 5, "steps_total": 5, "fraction": 1.0}, "training", points), 1e6)
    folder = Artifacts(home).publish(succeeded, 1, exported)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
    made = repository.succeed(succeeded, 1, EncoderDraft(folder=str(folder.relative_to(home)), **known))
    repository.set_alias("good", made)
    embedded = running("embed", {"encoder": made, "data": {"source": "folder", "path": "photos", "size": 32}})
    paths = [str(path.relative_to(photos)) for path in sorted(photos.rglob("*.png"))]
    vectors = write_vectors(home / "vectors" / f"{embedded}.1", clustered(24, manifest["dim"]), paths, encoder=made)
    about = {"images": 24, "errors": 0, "dim": manifest["dim"], "shards": 1, "size_bytes": 1}
    repository.finish(embedded, 1, ResultDraft(str(vectors.relative_to(home)), about))
    dataset = repository.create_dataset(DatasetDraft("photos", "photos", {"images": 24})).id
    repository.database.engine.dispose()
    return Seeded(queued, succeeded, embedded, made, dataset)


@contextlib.contextmanager
def target(folder: Path) -> Iterator[Target]:
    """The service, up and seeded, until the end of the block."""
    home, log, port = folder / "home", folder / "api.log", free_port()
    home.mkdir(parents=True)
    seeded = seed(home)
    settings = {
        "IMPRINT_HOME": str(home),
        "IMPRINT_PORT": str(port),
        "IMPRINT_API_KEYS": KEY,
        "IMPRINT_MAX_QUEUED": "1000000",
        "IMPRINT_DATABASE_URL": "",
        "IMPRINT_REDIS_URL": f"redis+socket://{home}/no-broker.sock",
        "IMPRINT_LOG_FORMAT": "text",
        "PYTHONPATH": str(ROOT),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "api"],
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent(),
        )
    if hasattr(resource, "prlimit"):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while not _answers(f"{url}/livez"):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield Target(url, log, seeded, process)
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
