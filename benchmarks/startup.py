"""How soon the service answers, and how soon a job takes its first step.

    python benchmarks/startup.py [--runs 5]

Starts `python -m api` alone and waits for /livez; then starts `imprint up` and, with it ready, submits digits jobs one after the
other and waits for the first step (progress.step >= 1 in GET /jobs/<id>). Prints a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from imprint import Client
from imprint.demo import free_port, stop, wait_for
from imprint.errors import JobFailed


def seconds_to_livez(home: Path) -> float:
    """From the start of the process to the first 200 of /livez."""
    port = free_port()
    env = {**os.environ, "IMPRINT_HOME": str(home), "IMPRINT_PORT": str(port)}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-P", "-m", "api"], env=env, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200:
                    return time.perf_counter() - began
            except httpx.TransportError:
                time.sleep(0.01)
    finally:
        stop(process)


def seconds_to_first_step(client: Client) -> float:
    """From POST /jobs to the first optimiser step that GET /jobs/<id> tells of; the job is cancelled then."""
    began = time.perf_counter()
    job = client.submit(data={"source": "digits"}, trainer={"max_epochs": 50})
    while not (job.progress and job.progress.step):
        time.sleep(0.05)
        job = client.job(job.id)
        if job.final:
            raise SystemExit(f"{job.id} {job.status}: {job.error}")
    seconds = time.perf_counter() - began
    client.cancel(job.id)
    with contextlib.suppress(JobFailed):  # "cancelled" counts as not finished
        client.wait(job.id)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs

    def row(name: str, measure: Callable[[], float]) -> None:
        values = [measure() for _ in range(runs)]
        print(f"| {name} | {min(values):.2f} | {statistics.median(values):.2f} | {max(values):.2f} |", flush=True)

    print("| seconds | min | median | max |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as home:
        row("start of `python -m api` to /livez", lambda: seconds_to_livez(Path(home)))
        port, log = free_port(), Path(home) / "up.log"
        command = [sys.executable, "-P", "-m", "imprint", "up", "--home", home, "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_for(client, process, log)
                row("POST /jobs to the first training step (digits, default recipe)", lambda: seconds_to_first_step(client))
        finally:
            stop(process)


if __name__ == "__main__":
    main()
