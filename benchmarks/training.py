"""Images/s of whole pipelines, from JPEG files in class folders to optimiser steps: the reference's, lightly's and ours.

    python benchmarks/training.py [--data DIR] [--methods moco_v2,simclr,byol] [--sizes 32,96] [--stem auto] [--batch 256]
                                  [--rounds 3] [--seconds 20 | --steps N] [--minutes M] [--images 8192] [--workers N] [--seed 0]

R: the reference implementation as it stands. S: the same with our encoder. L: lightly's own parts with our encoder (for all three
see peers.py). O: a real `python -m ssl_core`. B: forward, backward, optimiser and moving average alone, of O's method and
precision (bare.py).

Each measurement is a process of its own; in a round they take turns, and a ratio is between two of one round. The first
step (on a GPU 30) is not counted, nor is what comes before it: starting workers, and decoding once, which O does, and R and S do
up to 96 px. O's figure comes from its own `progress` events; it evaluates and saves at other times than those.

DIR is searched for JPEGs, of which --images are copied, more than once where there are fewer; without it they are cut from
scikit-learn's photographs. On two CPU cores a step at batch 256 takes up to half a minute: the estimate at the start is worth a
look. When --minutes or Ctrl-C end the run early, what was measured is printed all the same.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any

import torch
from images import image_folder, jpegs
from machine import describe
from measure import AS_A_TRAINER, FEWEST_STEPS, Countdown, Failed, images_per_second, in_child, say, spread, table, warm_up_steps
from peers import PEERS, our_encoder, their_encoder
from training_run import Run, complete_spec

from ssl_core.data.machine import cpus
from ssl_core.encoders import build_encoder
from ssl_core.spec import TrainSpec

METHODS = ("moco_v2", "simclr", "byol")
OURS, BARE = "ours", "bare"
LETTERS = {"reference": "R", "same architecture": "S", "lightly": "L", OURS: "O", BARE: "B"}
QUEUE = 65536  # the reference's K
NETWORK_PASSES = {  # forward is 1, with backward 3: only to guess how long it will take
    "moco_v2": {"reference": 4, "same architecture": 4, "lightly": 4, OURS: 4, BARE: 4},
    "simclr": {"reference": 8, "same architecture": 8, "lightly": 6, OURS: 6, BARE: 6},
    "byol": {"reference": 8, "same architecture": 8, "lightly": 8, OURS: 8, BARE: 8},
}
_START_SECONDS = 8.0  # of a process that imports torch


@dataclass
class Case:
    """A method at a size, and what was measured: images/s by name, one per round."""

    method: str
    size: int
    stem: str
    folder: Path
    cache: Path
    spec: TrainSpec
    speeds: dict[str, list[float | None]] = field(default_factory=dict)
    prepared: list[float] = field(default_factory=list)  # seconds; the first is for decoding, the others found it in the cache

    def measured(self, name: str) -> list[float]:
        return [speed for speed in self.speeds.get(name, []) if speed is not None]

    def ratios(self, above: str, below: str) -> list[float]:
        """Of the rounds that have both."""
        pairs = zip(self.speeds.get(above, []), self.speeds.get(below, []), strict=False)
        return [a / b for a, b in pairs if a is not None and b is not None]


def cases(arguments: argparse.Namespace, stack: ExitStack) -> list[Case]:
    """Every method at every size, with pictures for it in class folders."""
    found = []
    for size in arguments.sizes:
        given = stack.enter_context(image_folder(arguments.data, arguments.images, size, arguments.seed))
        folder = given
        if arguments.data is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imprint-bench-")))
            copy_pictures(given, arguments.images, folder)
        stem = build_encoder(arguments.arch, size, arguments.stem).stem
        for method in arguments.methods:
            sections: dict[str, Any] = {
                "data": {"source": "folder", "path": folder.name, "size": size},
                "encoder": {"arch": arguments.arch, "stem": stem},
                "trainer": {"batch_size": arguments.batch, "seed": arguments.seed},
            }
            if method == "moco_v2":
                sections["method"] = {"name": "moco", "queue_size": arguments.queue}
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imprint-bench-")))
            found.append(Case(method, size, stem, folder, cache, complete_spec(sections, method, folder.parent)))
    return found


def copy_pictures(given: Path, count: int, folder: Path) -> None:
    """`count` of the pictures below `given`, evenly spread, each in a folder named as its own."""
    paths = jpegs(given)
    for number, path in enumerate(islice(cycle(paths[:: max(1, len(paths) // count)]), count)):
        place = folder / path.parent.name
        place.mkdir(exist_ok=True)
        shutil.copyfile(path, place / f"{number:07d}.jpg")


def measure(case: Case, name: str, arguments: argparse.Namespace) -> float:
    """Images/s. Raises Failed."""
    timing = {"seconds": arguments.seconds, "steps": arguments.steps}
    if name == OURS:
        with tempfile.TemporaryDirectory(prefix="imprint-bench-") as out:
            with Run(case.spec, Path(out) / "run", case.folder.parent, case.cache) as run:
                speed = run.speed(**timing)
                case.prepared.append(run.prepared_in())
            return speed
    if name == BARE:
        answered = in_child("bare.py", {"spec": case.spec.model_dump(mode="json"), **timing}, AS_A_TRAINER)
    else:
        task = {"peer": name, "method": case.method, "arch": arguments.arch, "stem": case.stem, "size": case.size}
        task |= {"folder": str(case.folder), "batch": arguments.batch, "workers": arguments.workers, "seed": arguments.seed}
        answered = in_child("peers.py", {**task, "queue_size": arguments.queue, **timing})
    return float(answered["images_per_second"])


def guess(case: Case, name: str, forward: float, arguments: argparse.Namespace) -> float:
    """Seconds that a measurement will take. forward: seconds for one image, forward."""
    step = forward * NETWORK_PASSES[case.method][name] * arguments.batch
    counted = step * arguments.steps if arguments.steps else max(arguments.seconds, FEWEST_STEPS * step)
    return _START_SECONDS + warm_up_steps() * step + counted


def forward_seconds(case: Case, theirs: bool, arch: str, images: int = 16) -> float:
    """Seconds for one image forward in fp32: a third of forward and backward."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder, _ = their_encoder(arch, case.size) if theirs else our_encoder(arch, case.size, case.stem)
    encoder.to(device)
    batch = torch.randn(images, 3, case.size, case.size, device=device)
    return 1 / images_per_second(lambda given: encoder(given).sum().backward(), repeat(batch), images, seconds=0, steps=1) / 3


def run_all(found: list[Case], names: Sequence[str], arguments: argparse.Namespace) -> None:
    """Fill in the cases' speeds, until all is measured or the minutes are over."""
    firsts = found[:: len(arguments.methods)]  # one of each size
    forward = {(case.size, theirs): forward_seconds(case, theirs, arguments.arch) for case in firsts for theirs in (True, False)}
    rounds = [(turn, case) for turn in range(1, arguments.rounds + 1) for case in found]
    countdown = Countdown(
        [guess(case, name, forward[case.size, name == "reference"], arguments) for _, case in rounds for name in names]
    )
    for number, (turn, case) in enumerate(rounds):
        share = countdown.left() / (len(rounds) - number)
        if arguments.minutes is not None and number and countdown.elapsed() + share > arguments.minutes * 60:
            say(f"the {arguments.minutes:g} minutes are over")
            return
        for name in names:
            countdown.next(f"{case.method}, {case.size} px, round {turn}, {name}")
            speed = None
            try:
                speed = measure(case, name, arguments)
                say(f"    {speed:,.1f} images/s")
            except Failed as error:
                say(f"    failed: {error}")
            case.speeds.setdefault(name, []).append(speed)


def report(found: list[Case]) -> str:
    """Two tables for RESULTS.md: speeds and ratios."""
    speeds, ratios = [], []
    for case in found:
        place = [case.method, str(case.size), case.stem]
        cells = [spread(case.measured(name), "{:,.1f}") for name in LETTERS]
        speeds.append([*place, *cells, spread(case.prepared[:1], "{:.1f}")])
        against = [spread(case.ratios(OURS, peer), "{:.2f}") for peer in PEERS]
        overhead = spread([ratio - 1 for ratio in case.ratios(BARE, OURS)], "{:.1%}")
        ratios.append([*place, *against, overhead])
    place = ["method", "px", "our stem"]
    names = [f"{letter} {name}" for name, letter in LETTERS.items()]
    return "\n\n".join(
        [
            "images/s and seconds: min / **median** / max of the rounds",
            table([*place, *names, "O prepared once in, s"], speeds),
            table([*place, "O/R (goal ≥ 3)", "O/S (goal ≥ 2)", "O/L (goal ≥ 2)", "B/O - 1 (goal ≤ 8 %)"], ratios),
        ]
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with JPEGs; default: made of scikit-learn's photographs")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=list(METHODS))
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[32, 96])
    parser.add_argument("--stem", choices=["auto", "imagenet", "cifar"], default="auto", help="ours; auto: cifar up to 64 px")
    parser.add_argument("--arch", default="resnet18", help="a ResNet of torchvision")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of one measurement, at least, and two steps")
    parser.add_argument("--steps", type=int, help="so many steps in place of seconds")
    parser.add_argument("--minutes", type=float, help="no round begins that would end later")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--queue", type=int, default=QUEUE, help="MoCo's K, for all")
    parser.add_argument("--workers", type=int, default=cpus(), help="of the DataLoaders; the reference's default is 4")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of the peers, e.g. lightly,ours,bare")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, given, known in (("--methods", arguments.methods, METHODS), ("--only", arguments.only or [], LETTERS)):
        unknown = [each for each in given if each not in known]
        if unknown:
            parser.error(f"{name} {','.join(unknown)} is not known; there are {', '.join(known)}")
    return arguments


def main() -> None:
    arguments = parse()
    names = arguments.only or list(LETTERS)
    if "lightly" in names and find_spec("lightly") is None:
        say("lightly is skipped: it is not installed (pip install -e '.[dev]')")
        names.remove("lightly")
    with ExitStack() as stack:
        found = cases(arguments, stack)
        try:
            run_all(found, names, arguments)
        except KeyboardInterrupt:
            say("stopped")
        timing = f"{arguments.steps} steps" if arguments.steps else f"{arguments.seconds:g} s"
        print(describe(arguments.seed, ["lightly"]))
        print(f"{arguments.arch}, batch {arguments.batch}, {arguments.workers} workers, {timing} a measurement, up to", end=" ")
        print(f"{arguments.rounds} rounds, precision of ours {found[0].spec.trainer.precision}\n")
        print(report(found))


if __name__ == "__main__":
    main()
