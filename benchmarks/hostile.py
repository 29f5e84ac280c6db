"""Hostile pictures through the decoding of POST /embed and through the preparation of a dataset: what becomes of them.

    python benchmarks/hostile.py --count 2000 --seed 0

Files come from tests/support/hostile.py. Each way runs in processes of its own, whose peak memory is what is told; the first
has as many threads as the API. A crash of any process ends in a word that says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile pictures, and what becomes of them.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=("make", "embed", "dataset"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child == "make":
        return make(arguments.folder, arguments.count, arguments.seed)
    if arguments.child:
        print(json.dumps({"embed": embed, "dataset": dataset}[arguments.child](arguments.folder)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data" / "hostile"
        folder.mkdir(parents=True)
        # In a process of its own: a new process inherits the peak of the one that starts it.
        own = ["--count", str(arguments.count), "--seed", str(arguments.seed), "--folder", str(folder)]
        subprocess.run([sys.executable, __file__, "--child", "make", *own], check=True)
        kinds = Counter(each.stem[5:].split("-more")[0].split("-again")[0].split("-once")[0] for each in folder.iterdir())
        size = sum(each.stat().st_size for each in folder.iterdir())
        print(f"{arguments.count:,} files, {size / MIB:.0f} MiB, seed {arguments.seed}: {dict(kinds)}\n")
        print("| way | shown | refused | processes that died | peak memory of a process | longest picture | all |")
        print("|---|---|---|---|---|---|---|")
        reasons: dict[str, int] = {}
        notes = ""
        for way in ("embed", "dataset"):
            command = [sys.executable, __file__, "--child", way, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"| {way} | | | **died: status {done.returncode}** | | | |\n{done.stderr[-2000:]}")
                continue
            found = json.loads(done.stdout)
            longest = f"{found['longest']:.1f} s ({found['slowest']})" if "longest" in found else ""
            print(
                f"| {way} | {found['shown']:,} | {found['refused']:,} | {found['died']} | {found['peak'] / MIB:.0f} MiB "
                f"| {longest} | {found['seconds']:.0f} s |"
            )
            reasons = found["reasons"]
            before = (
                f"; before the first picture the process of embed had {found['before'] / MIB:.0f} MiB"
                if "before" in found
                else ""
            )
            notes += before
        print("\nReasons: " + "; ".join(f"{count:,} × {reason}" for reason, count in reasons.items()) + notes)


def make(folder: Path, count: int, seed: int) -> None:
    """Write the files."""
    from support.hostile import hostile

    for name, _, content in hostile(count, seed):
        (folder / name).write_bytes(content)

    import numpy as np

    from ssl_core.encoders import build_encoder
    from ssl_core.export import export_encoder
    from ssl_core.spec import DigitsData, TrainSpec

    spec = TrainSpec(data=DigitsData(size=224, mean=(0.5,), std=(0.25,)))
    facts = {"source": "digits", "images": 1, "fingerprint": "", "mean": (0.5,) * 3, "std": (0.25,) * 3}
    images = np.zeros((40, 224, 224, 3), np.uint8)
    export_encoder(build_encoder("resnet18", 224, "imagenet").eval(), spec, facts, {}, folder.parent / "export", images)


def embed(folder: Path) -> dict[str, object]:
    """As the API does it, with all that it has in memory: content in memory, threads, the encoder's preprocessing."""
    import numpy as np

    import api.main  # noqa: F401
    from ssl_core.data.errors import BadImage
    from ssl_core.data.machine import few_arenas
    from ssl_core.embedder import Embedder

    few_arenas()
    embedder = Embedder.load(folder.parent / "export" / "encoder")
    embedder.embed(np.zeros((8, 224, 224, 3), np.uint8))
    before = _peak()
    seconds: dict[str, float] = {}

    def one(path: Path) -> str | None:
        data, began = path.read_bytes(), time.thread_time()
        try:
            embedder.preprocess(data)
        except BadImage as error:
            return error.reason
        finally:
            seconds[path.name] = time.thread_time() - began
        return None

    began = time.monotonic()
    with ThreadPoolExecutor(max(2, min(8, os.cpu_count() or 2))) as pool:
        found = list(pool.map(one, sorted(folder.iterdir())))
    slowest = max(seconds, key=lambda name: seconds[name])
    return {**_told(found, time.monotonic() - began, _peak()), "longest": seconds[slowest], "slowest": slowest, "before": before}


def dataset(folder: Path) -> dict[str, object]:
    """As a job does it: decoders, each a process, and an entry of the cache."""
    from ssl_core.data.cache import Cache
    from ssl_core.data.sources import every_file
    from ssl_core.spec import FolderData

    began = time.monotonic()
    found, fingerprint = every_file(FolderData(path=folder.name), folder.parent)
    prepared = Cache(folder.parent.parent / "cache", 2**33).prepared(found, fingerprint, 64, lambda done, total: None)
    reasons = [prepared.unreadable.get(row) for row in range(len(found.paths))]
    peak = max(_peak(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
    return _told(reasons, time.monotonic() - began, peak)


def _told(reasons: list[str | None], seconds: float, peak: int) -> dict[str, object]:
    bad = [reason for reason in reasons if reason is not None]
    return {
        "shown": len(reasons) - len(bad),
        "refused": len(bad),
        "died": sum("the decoder ended" in reason for reason in bad),
        "peak": peak,
        "seconds": seconds,
        "reasons": dict(Counter(_short(reason) for reason in bad).most_common(12)),
    }


def _short(reason: str) -> str:
    """Without what differs from file to file."""
    words = " ".join("…" if any(char.isdigit() for char in word) else word for word in reason.split())
    return words.split(" in a known format")[0][:60]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
