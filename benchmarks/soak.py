"""Many clients over more encoders than there is room for: no failed request, and memory that stays flat.

    python benchmarks/soak.py [--photos DIR] [--minutes 10] [--clients 16] [--encoders 4] [--room 2] [--arch resnet18]
                              [--size 224] [--seed 0]

The clients ask for every encoder in turn, so that encoders are dropped and loaded again all the time. Meanwhile an alias is
moved from one to the next every second, and a client of its own asks for that alias. Resident memory is that of the API's
process, sampled every second; a minute's figure is the mean of its samples.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

from load import Load, put_load
from machine import describe
from measure import resident, say, table
from published import api, export, publish, running
from serving import photographs

from imprint.demo import free_port

ALIAS = "moving"
WARM_UP = 5.0


def move_alias(port: int, encoders: list[str], number: int) -> None:
    """Let the alias stand for the next encoder. Raises urllib.error.HTTPError."""
    body = json.dumps({"encoder": encoders[number % len(encoders)]}).encode()
    url = f"http://127.0.0.1:{port}/aliases/{ALIAS}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PUT")
    urllib.request.urlopen(request, timeout=60).close()


def by_minute(samples: list[tuple[float, float]], minutes: float) -> list[float]:
    """Means of (seconds, MB) over whole minutes, or over tenths of a run that is shorter than two."""
    width = 60.0 if minutes >= 2 else minutes * 6
    groups: dict[int, list[float]] = {}
    for second, value in samples:
        groups.setdefault(int(second // width), []).append(value)
    return [fmean(groups[key]) for key in sorted(groups)]


def swing(means: list[float]) -> float:
    """How far the means lie apart after the first, as a share of their mean: 0.03 is "flat to 3 %"."""
    kept = means[1:] or means
    return (max(kept) - min(kept)) / fmean(kept)


def soak(
    port: int, pid: int, encoders: list[str], photos: list[Path], clients: int, seconds: float
) -> tuple[Load, Load, int, list[tuple[float, float]]]:
    """(load over all encoders, load on the alias, times the alias moved, samples of memory)."""
    move_alias(port, encoders, 0)
    samples: list[tuple[float, float]] = []
    over = threading.Event()
    moved = 0
    with ThreadPoolExecutor(2) as pool:
        began = time.monotonic()
        many = pool.submit(put_load, port, photos, clients, 1, seconds, WARM_UP, "/embed", encoders)
        one = pool.submit(put_load, port, photos, 1, 1, seconds, WARM_UP, "/embed", [ALIAS])
        while not (many.done() and one.done()):
            over.wait(1.0)
            samples.append((time.monotonic() - began, resident(pid) / 1e6))
            moved += 1
            move_alias(port, encoders, moved)
            if moved % 30 == 0:
                say(f"{samples[-1][0]:.0f} s of {seconds + WARM_UP:.0f}, {samples[-1][1]:.0f} MB")
        return many.result(), one.result(), moved, samples


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with JPEGs")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--encoders", type=int, default=4)
    parser.add_argument("--room", type=float, default=2, help="encoders that the memory budget has room for")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as created:
        place = Path(created)
        photos = photographs(arguments.photos, place, arguments.seed)
        folder = export(arguments.arch, arguments.size, photos, place, arguments.seed)
        encoders = publish(place / "home", folder, arguments.encoders)
        weights = json.loads((folder / "manifest.json").read_text())["size_bytes"]
        budget = int(2 * weights * (arguments.room + 0.5))  # counted as twice the weights
        port = free_port()
        command, environment = api(place / "home", port, embed_memory=str(budget))
        with running(command, port, place / "api.log", environment) as pid:
            many, one, moved, samples = soak(port, pid, encoders, photos, arguments.clients, arguments.minutes * 60)
        log = (place / "api.log").read_text()
    means = by_minute(samples, arguments.minutes)
    print(describe(arguments.seed, ["openvino", "fastapi", "uvicorn"]))
    print(f"{arguments.arch}, {arguments.size} px, {arguments.encoders} encoders, room for {arguments.room:g}")
    loaded = log.count("loaded encoder")
    print(f"({budget / 1e6:.0f} MB), {arguments.minutes:g} minutes; loaded {loaded} times, the alias moved {moved} times\n")
    rows = [
        [f"{clients}", what, f"{load.images_per_second:.1f}", f"{len(load.seconds):,}", str(load.failed), f"{load.median:.0f}",
         f"{load.percentile(99):.0f}"]
        for clients, what, load in ((arguments.clients, "every encoder in turn", many), (1, "the alias that moves", one))
    ]  # fmt: skip
    print(table(["clients", "ask for", "images/s", "answered", "failed", "p50, ms", "p99, ms"], rows))
    print()
    print(f"Resident memory, MB, minute by minute: {', '.join(f'{mean:.0f}' for mean in means)}")
    print(f"After the first they lie {swing(means):.1%} apart (goal: 3 %).")


if __name__ == "__main__":
    main()
