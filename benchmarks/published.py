"""A service with encoders in it, without training any: the database row and the files that a finished job leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from measure import child_environment

from jobs.artifacts import Artifacts
from jobs.database import connect, migrate
from jobs.records import EncoderDraft, JobDraft
from jobs.repository import Repository
from ssl_core.data.images import load_square
from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import EncoderConfig, FolderData, TrainSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def export(arch: str, size: int, photos: Sequence[Path], out: Path, seed: int) -> Path:
    """A network of random weights, whose batch statistics are those of the photos, exported as at the end of a job."""
    torch.manual_seed(seed)
    encoder = build_encoder(arch, size)
    images = np.stack([load_square(photo, size, round(size * 256 / 224)) for photo in photos[:64]])
    batch = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - torch.tensor(MEAN).view(-1, 1, 1)) / 0.225
    with torch.no_grad():
        for _ in range(20):
            encoder.train()(batch[:32])
    spec = TrainSpec(data=FolderData(path="photos", size=size, mean=MEAN, std=STD), encoder=EncoderConfig(arch=arch))
    facts = {"images": len(photos), "fingerprint": "none", "short_side": round(size * 256 / 224)}
    return export_encoder(encoder, spec, facts, {}, out, images)


def publish(home: Path, exported: Path, count: int = 1) -> list[str]:
    """`count` finished jobs below `home`, each with a copy of the encoder; their encoders' ids."""
    home.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{home / 'imprint.db'}"
    migrate(url)
    repository, artifacts = Repository(connect(url)), Artifacts(home)
    manifest = json.loads((exported / "manifest.json").read_text())
    ids = []
    for _ in range(count):
        job = repository.create(JobDraft(name=None, kind="pretrain", method=manifest["method"], spec=manifest["spec"]))
        claim = repository.claim(job.id, "benchmark", 600)
        assert claim is not None
        folder = artifacts.publish(job.id, claim.attempt, exported)
        known = {name: manifest[name] for name in ("arch", "dim", "method", "metrics", "sha256", "size_bytes")}
        ids.append(repository.succeed(job.id, claim.attempt, EncoderDraft(folder=str(folder.relative_to(home)), **known)))
    return ids


@contextmanager
def running(command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] = {}, path: str = "/") -> Iterator[int]:
    """A server in a process group of its own, from its first answer on; its process id. Killed at the end, with its children."""
    env = {**child_environment(), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _until_answered(f"http://127.0.0.1:{port}{path}", process, log)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def api(home: Path, port: int, **settings: str) -> tuple[list[str], dict[str, str]]:
    """The command and environment of `python -m api`."""
    names = {f"IMPRINT_{name.upper()}": value for name, value in settings.items()}
    return [sys.executable, "-P", "-m", "api"], {"IMPRINT_HOME": str(home), "IMPRINT_PORT": str(port), **names}


def paused(pid: int, stop: bool) -> None:
    """Stop a server's whole group, or let it go on: what is not measured takes no processor time."""
    os.killpg(pid, signal.SIGSTOP if stop else signal.SIGCONT)


def _until_answered(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the server did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.1)
