"""MoCo v2 and BYOL on CIFAR-10 as an image folder, through the service: kNN of the trained encoder against random weights.

    python benchmarks/cifar10_folder.py DATA [--epochs 12] [--only byol] [--seed 0]

DATA is a folder with train/<class>/* and test/<class>/*. Starts `imprint up` on it, submits the jobs one after the other, and
prints a table for RESULTS.md. Twelve epochs take two CPU cores about a quarter of an hour a job.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import describe

from imprint import Client
from imprint.demo import free_port, stop, wait_for
from imprint.records import Job

HEAD = {"layers": 2, "hidden_dim": 1024, "out_dim": 256, "norm": "bn"}
JOBS: dict[str, dict[str, Any]] = {
    # FAIR's CIFAR-10 demo values for queue, temperature, momentum and weight decay; SGD at batch 256.
    "moco_v2": {
        "preset": "moco_v2",
        "method": {"queue_size": 4096, "symmetric": True, "loss": {"temperature": 0.1}, "branches": {"momentum": 0.99}},
        "optim": {"name": "sgd", "lr": 0.06, "weight_decay": 5e-4, "warmup_epochs": 0.5},
    },
    "byol": {
        "preset": "byol",
        "method": {"branches": {"projector": HEAD, "predictor": HEAD, "momentum": 0.99}},
        "optim": {"name": "sgd", "lr": 0.06, "weight_decay": 5e-4, "warmup_epochs": 0.5},
    },
}


def body(name: str, folder: str, epochs: int, stem: str, seed: int) -> dict[str, Any]:
    """A whole request; the stem decides how much of the 32 px the network sees and how long a step takes."""
    return {
        **JOBS[name],
        "name": f"cifar10-{name}",
        "data": {"source": "folder", "path": folder},
        "encoder": {"arch": "resnet18", "stem": stem},
        "trainer": {"max_epochs": epochs, "batch_size": 256, "seed": seed},
    }


def run(client: Client, request: dict[str, Any]) -> Job:
    """Submit, wait, and print a line now and then."""
    job = client.submit(**request)
    said = 0.0
    for now in client.updates(job.id, every=2.0):
        job = now
        if time.monotonic() - said > 60 and now.progress:
            said = time.monotonic()
            print(f"  {now.status} {now.progress} kNN {now.metrics.get('knn_top1')}", file=sys.stderr, flush=True)
    if job.status != "succeeded":
        raise SystemExit(f"{job.id} {job.status}: {job.error}\n{client.logs(job.id, tail=30)}")
    return job


def row(client: Client, name: str, job: Job, seconds: float) -> str:
    """One line of the table: last epoch, held-out test images."""
    history = {metric: list(client.metrics(job.id, metric)) for metric in ("knn_top1", "linear_top1", "effective_rank")}
    cells = [f"{points[0].value:.1f} → {points[-1].value:.1f}" for points in history.values()]
    assert job.progress is not None
    speed = f"{job.progress.images_per_second:.0f}"
    return f"| {name} | {job.spec['trainer']['max_epochs']} | {seconds / 60:.1f} | {speed} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*JOBS])
    arguments = parser.parse_args()
    data = arguments.data.resolve()
    if not (data / "train").is_dir():
        raise SystemExit(f"{data} has no train/: give the folder with CIFAR-10's train/ and test/ in class folders")

    print(f"{describe(arguments.seed)}, ResNet-18, {arguments.stem} stem, batch 256")
    print("| method | epochs | minutes | images/s | kNN, random → trained | linear, random → trained | effective rank |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as home:
        port = free_port()
        log = Path(home) / "up.log"
        command = [sys.executable, "-P", "-m", "imprint", "up", "--home", home, "--port", str(port), "--data", str(data.parent)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_for(client, process, log)
                for name in [arguments.only] if arguments.only else JOBS:
                    began = time.monotonic()
                    job = run(client, body(name, data.name, arguments.epochs, arguments.stem, arguments.seed))
                    print(row(client, name, job, time.monotonic() - began), flush=True)
        finally:
            stop(process)


if __name__ == "__main__":
    main()
