"""Embeddings and GET /jobs/<id> while a job trains on the same machine, against the same with the machine to themselves.

    python benchmarks/beside.py [--photos DIR] [--seconds 20] [--rounds 2] [--arch resnet18] [--size 224]
                                [--train-size 32] [--seed 0]

Starts `imprint up`. One client asks for embeddings, one photo a request, while another asks for a job ten times a second; first
with an idle worker, then with a job in training (SimCLR, ResNet-18, --train-size px), in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from load import Load, put_load
from machine import describe
from measure import Countdown, say, spread, table
from published import export, publish
from serving import photographs

from imprint import Client
from imprint.demo import free_port, stop, wait_for
from imprint.errors import JobFailed

ASKED_EVERY = 0.1
WARM_UP = 2.0


def asked(url: str, over: threading.Event, took: list[float]) -> None:
    """Get the page again and again, with a new connection each time; seconds go to `took`."""
    while not over.is_set():
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:
            answer.read()
        took.append(time.perf_counter() - began)
        over.wait(ASKED_EVERY)


def measured(port: int, job: str, photos: list[Path], seconds: float) -> tuple[Load, Load]:
    """(of /embed at one client, of GET /jobs/<id>) at the same time."""
    over, took = threading.Event(), list[float]()
    asking = threading.Thread(target=asked, args=(f"http://127.0.0.1:{port}/jobs/{job}", over, took))
    asking.start()
    try:
        load = put_load(port, photos, 1, 1, seconds, WARM_UP, "/embed")
    finally:
        over.set()
        asking.join()
    return load, Load(len(took) / seconds, took)


@contextlib.contextmanager
def training(client: Client, folder: str, size: int, seed: int) -> Iterator[str]:
    """A job that trains for as long as the block takes; its id."""
    job = client.submit(
        preset="simclr", data={"source": "folder", "path": folder, "size": size}, encoder={"arch": "resnet18"},
        trainer={"max_epochs": 1000, "batch_size": 32, "seed": seed},
    )  # fmt: skip
    while not (job.progress and job.progress.step):
        time.sleep(0.1)
        job = client.job(job.id)
        if job.final:
            raise SystemExit(f"{job.id} {job.status}: {job.error}")
    yield job.id
    if client.job(job.id).status != "running":
        raise SystemExit(f"{job.id} ended too early")
    client.cancel(job.id)
    with contextlib.suppress(JobFailed):
        client.wait(job.id)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with JPEGs")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--train-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    seen: dict[str, list[tuple[Load, Load]]] = {"idle": [], "training": []}
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as created:
        place = Path(created)
        data = place / "home" / "data" / "photos"
        data.mkdir(parents=True)
        photos = photographs(arguments.photos, data, arguments.seed)
        if arguments.photos is not None:
            for photo in photos:
                (data / photo.name).write_bytes(photo.read_bytes())
        publish(place / "home", export(arguments.arch, arguments.size, photos, place, arguments.seed))
        port, log = free_port(), place / "up.log"
        command = [sys.executable, "-P", "-m", "imprint", "up", "--home", str(place / "home"), "--data", str(data.parent)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_for(client, process, log)
                published = next(client.encoders()).job_id
                countdown = Countdown([arguments.seconds + WARM_UP + 2, arguments.seconds + WARM_UP + 12] * arguments.rounds)
                for turn in range(1, arguments.rounds + 1):
                    countdown.next(f"round {turn}, idle")
                    seen["idle"].append(measured(port, published, photos, arguments.seconds))
                    countdown.next(f"round {turn}, training")
                    with training(client, "photos", arguments.train_size, arguments.seed) as job:
                        seen["training"].append(measured(port, job, photos, arguments.seconds))
                        rate = client.job(job).progress
                        say(f"    the job: {rate.images_per_second if rate else None} images/s")
        finally:
            stop(process)
    print(describe(arguments.seed, ["openvino", "fastapi", "uvicorn"]))
    print(f"{arguments.arch}, {arguments.size} px, {len(photos)} photos, {arguments.rounds} rounds of {arguments.seconds:g} s\n")
    print(report(seen))


def report(seen: dict[str, list[tuple[Load, Load]]]) -> str:
    """A table for RESULTS.md: min / median / max of the rounds."""
    rows = []
    for state, rounds in seen.items():
        for at, what in enumerate(("POST /embed, one client", "GET /jobs/<id>")):
            loads = [pair[at] for pair in rounds]
            figures = ([load.median for load in loads], [load.percentile(99) for load in loads])
            worse = [now[at].percentile(99) / idle[at].percentile(99) for now, idle in zip(rounds, seen["idle"], strict=True)]
            failed = str(sum(load.failed for load in loads))
            cells = [*(spread(each, "{:.1f}") for each in figures), failed]
            rows.append([state, what, *cells, "" if state == "idle" else spread(worse, "{:.2f}")])
    return table(["worker", "request", "p50, ms", "p99, ms", "failed", "p99 is so many times the idle one"], rows)


if __name__ == "__main__":
    main()
