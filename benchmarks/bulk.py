"""How fast a folder is embedded, against a bare loop with the same processes, and how much memory that takes.

    python benchmarks/bulk.py FOLDER [--counts 1000 100000] [--arch resnet18] [--size 224] [--no-bare]

FOLDER holds pictures, nested or flat. For each count a folder with so many hard links to them is made beside it (and removed),
and `python -m ssl_core` embeds it with an encoder of random weights, as a worker would. The bare loop decodes with the same
function in as many processes, and runs the same network, but writes nothing and survives nothing. Prints a table for RESULTS.md:
images/s while it embeds; seconds in all, from the start of the process to its end; and the largest sum of the resident memory of
all its processes, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from measure import resident

from ssl_core.data.images import load_square
from ssl_core.data.machine import cpus
from ssl_core.data.scan import EXTENSIONS
from ssl_core.embedder import Embedder

SEED, BATCH = 0, 64


def resident_together(group: int) -> int:
    """Bytes of resident memory of all processes of a process group."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            if int((process / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                total += resident(process.name)
    return total


def embedded(root: Path, path: str, encoder: Path, out: Path) -> tuple[float, float, int]:
    """(images/s, seconds in all, peak bytes) of embedding root/path."""
    out.mkdir()
    spec = out / "spec.json"
    spec.write_text(json.dumps({"kind": "embed", "encoder": "enc", "data": {"source": "folder", "path": path}}))
    command = [sys.executable, "-m", "ssl_core", spec, "--out", out, "--data-root", root, "--encoder", encoder]
    began, most = time.perf_counter(), 0
    process = subprocess.Popen([str(word) for word in command], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while process.poll() is None:
            most = max(most, resident_together(process.pid))
            time.sleep(0.1)
    finally:
        process.kill()
    seconds = time.perf_counter() - began
    said = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    if process.returncode != 0:
        raise SystemExit(f"the run ended with {process.returncode}: {said[-1:]}")
    return [event for event in said if event["type"] == "progress"][-1]["images_per_second"], seconds, most


def _load(job: tuple[str, int, int]) -> np.ndarray:
    return load_square(Path(job[0]).read_bytes(), job[1], job[2])


def bare(folder: Path, encoder: Path, count: int) -> float:
    """Images/s of a loop that decodes in as many processes and infers."""
    embedder = Embedder.load(encoder)
    short_side = embedder.facts.preprocessing.resize.short_side
    jobs = [(str(file), embedder.size, short_side) for file in sorted(folder.rglob("*.*"))]
    with multiprocessing.get_context("spawn").Pool(cpus()) as pool:
        pool.map(_load, jobs[: 2 * cpus()])  # they have started
        began = time.perf_counter()
        decoded = pool.imap(_load, jobs, chunksize=16)
        while batch := list(islice(decoded, BATCH)):
            embedder.embed(np.stack(batch))
        return count / (time.perf_counter() - began)


def main() -> None:
    # Here, since the processes of the bare loop import this file, and these import torch.
    from machine import describe
    from published import export
    from scaling import make_files

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--no-bare", action="store_true", help="leave the loop out")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    pictures = sorted(each for each in folder.rglob("*") if each.suffix.lower() in EXTENSIONS)
    print(describe(SEED, ["openvino", "pyarrow"]), flush=True)
    print("| images | network | images/s | bare loop, images/s | seconds in all | peak memory, MiB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-bulk-", dir=folder.parent) as scratch:
        root = Path(scratch)
        encoder = export(arguments.arch, arguments.size, pictures, root, SEED)
        for count in arguments.counts:
            make_files(root / "data" / "photos", pictures, count, copies=False)
            speed, seconds, most = embedded(root / "data", "photos", encoder, root / f"out-{count}")
            loop = "" if arguments.no_bare else f"{bare(root / 'data' / 'photos', encoder, count):,.0f}"
            network = f"{arguments.arch}, {arguments.size} px"
            print(f"| {count:,} | {network} | {speed:,.0f} | {loop} | {seconds:.1f} | {most / 2**20:,.0f} |", flush=True)
            shutil.rmtree(root / "data")


if __name__ == "__main__":
    main()
