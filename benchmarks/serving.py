"""Serving an encoder: images/s and latency of ours, of a plain FastAPI server and of LitServe, with the same weights and photos.

    python benchmarks/serving.py [--photos DIR] [--arch resnet18] [--size 224] [--clients 1,8,32] [--rounds 3] [--seconds 6]
                                 [--threads N] [--only NAME,…] [--seed 0]

Every server runs from the start, stopped (SIGSTOP) while it is not measured; in a round they take turns. Clients send one photo a
request, as a form; at the end a client sends requests of 32 photos, as JSON. They are a process of their own, on the same
processors. What is first, and not counted: a second of warm-up.

The bare loop decodes and infers without any server, with the parts that ours uses: one after the other for the latency of one
client, and for throughput with the next batch decoded meanwhile.

DIR is searched for JPEGs; without it photographs of 500×375 px are cut from scikit-learn's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from images import jpegs
from load import Load, put_load
from machine import describe
from measure import Countdown, in_child, say, spread, table
from published import api, export, paused, publish, running
from serving_peers import NAIVE, PEERS

from imprint.demo import free_port
from ssl_core.data.machine import cpus

OURS = "ours"
BATCH = 32
WARM_UP = 1.0
Case = tuple[int, int]  # clients, photos in a request


def photographs(given: Path | None, folder: Path, seed: int, count: int = 64) -> list[Path]:
    """JPEGs below `given`, or made of scikit-learn's photographs in the size of ImageNet's typical one."""
    if given is not None:
        found = jpegs(given)
        if not found:
            raise SystemExit(f"{given} holds no .jpg or .jpeg file")
        return found
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        source = sources[number % len(sources)]
        left, top = int(random.integers(source.width - 500)), int(random.integers(source.height - 375))
        made.append(folder / f"{number:03}.jpg")
        source.crop((left, top, left + 500, top + 375)).save(made[-1], quality=90)
    return made


def report(seen: dict[tuple[str, Case], list[Load]], bare: dict[str, list[Load]], names: list[str], cases: list[Case]) -> str:
    """Two tables for RESULTS.md."""
    rows = []
    for case in cases:
        for name in names:
            loads = seen[name, case]
            cells = [spread([load.images_per_second for load in loads], "{:.1f}")]
            cells += [f"{statistics.median(of):.1f}" for of in ([x.median for x in loads], [x.percentile(99) for x in loads])]
            cells.append(str(sum(load.failed for load in loads)))
            ratios = [mine.images_per_second / its.images_per_second for mine, its in zip(seen[OURS, case], loads, strict=True)]
            cells.append("" if name == OURS else spread(ratios, "{:.2f}"))
            rows.append([str(case[0]), str(case[1]), name, *cells])
    head = ["clients", "photos a request", "server", "images/s", "p50, ms", "p99, ms", "failed", "ours is so many times as fast"]
    single, many = bare["single"], bare["many"]
    shares = [mine.images_per_second / loop.images_per_second for mine, loop in zip(_most(seen, cases), many, strict=True)]
    added = [mine.median - loop.median for mine, loop in zip(seen.get((OURS, (1, 1)), []), single, strict=False)]
    loops = [
        ["one after the other", spread([x.images_per_second for x in single], "{:.1f}"), f"{single[0].median:.1f}", ""],
        ["32 at once, decoded ahead", spread([x.images_per_second for x in many], "{:.1f}"), "", spread(shares, "{:.1%}")],
    ]
    loops[0][3] = f"p50 at one client: {spread(added, '{:+.2f}')} ms (goal: at most +3)"
    return "\n\n".join([table(head, rows), table(["bare loop", "images/s", "p50, ms", "ours beside it (goal: 90 %)"], loops)])


def _most(seen: dict[tuple[str, Case], list[Load]], cases: list[Case]) -> list[Load]:
    """Ours at the most clients that send single photos."""
    return seen[OURS, max(case for case in cases if case[1] == 1)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with JPEGs")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--clients", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one measurement")
    parser.add_argument("--threads", type=int, default=cpus(), help="of the networks")
    parser.add_argument("--only", type=lambda text: text.split(";"), default=list(PEERS), help="peers, separated by semicolons")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    peers = [name for name in arguments.only if name in PEERS]
    if find_spec("litserve") is None:
        say("LitServe is skipped: it is not installed (pip install -e '.[bench]')")
        peers = [name for name in peers if name == NAIVE]
    names = [*peers, OURS]
    cases: list[Case] = [*((clients, 1) for clients in arguments.clients), (1, BATCH)]
    seen: dict[tuple[str, Case], list[Load]] = {(name, case): [] for name in names for case in cases}
    bare: dict[str, list[Load]] = {"single": [], "many": []}
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imprint-bench-")))
        photos = photographs(arguments.photos, place, arguments.seed)
        folder = export(arguments.arch, arguments.size, photos, place, arguments.seed)
        publish(place / "home", folder)
        servers: dict[str, tuple[int, int]] = {}  # name: (port, process)
        for name in names:
            port = free_port()
            if name == OURS:
                command, environment = api(place / "home", port)
            else:
                command, environment = _peer(name, port, folder, arguments.threads), {}
            process = stack.enter_context(running(command, port, place / f"{name}.log", environment))
            servers[name] = (port, process)
            put_load(port, photos, 1, 1, 2.0, WARM_UP, "/embed")
            paused(process, stop=True)
        loops = {"single": 1, "many": BATCH}
        turns = arguments.rounds * (len(cases) * len(names) + len(loops))
        countdown = Countdown([arguments.seconds + WARM_UP + 0.5] * turns)
        given = {"folder": str(folder), "photos": [str(each) for each in photos], "threads": arguments.threads}
        for turn in range(1, arguments.rounds + 1):
            for kind, batch in loops.items():
                countdown.next(f"round {turn}, bare loop, {batch} at once")
                answered = in_child("serving_peers.py", {**given, "batch": batch, "seconds": arguments.seconds})
                bare[kind].append(Load(answered["images_per_second"], answered["seconds"]))
                say(f"    {bare[kind][-1].images_per_second:.1f} images/s")
            for case in cases:
                for name in names:
                    countdown.next(f"round {turn}, {case[0]} clients, {case[1]} photos a request, {name}")
                    port, process = servers[name]
                    paused(process, stop=False)
                    load = put_load(port, photos, case[0], case[1], arguments.seconds, WARM_UP, "/embed")
                    paused(process, stop=True)
                    if load.failed or not load.seconds:
                        raise SystemExit(f"{name}: {load.failed} of {load.failed + len(load.seconds)} requests failed")
                    seen[name, case].append(load)
                    say(f"    {load.images_per_second:.1f} images/s, p50 {load.median:.1f} ms, p99 {load.percentile(99):.1f} ms")
    packages = ["openvino", "litserve", "fastapi", "uvicorn", "pillow"]
    print(describe(arguments.seed, packages))
    print(f"{arguments.arch}, {arguments.size} px, {len(photos)} photos, {arguments.threads} threads, {arguments.rounds} rounds,")
    print(f"{arguments.seconds:g} s a measurement; images/s: min / **median** / max of the rounds; p50 and p99: their medians\n")
    print(report(seen, bare, names, cases))


def _peer(name: str, port: int, folder: Path, threads: int) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name("serving_peers.py")), name, str(port), str(folder), str(threads)]


if __name__ == "__main__":
    main()
