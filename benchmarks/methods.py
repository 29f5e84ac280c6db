"""What every method learns in the same short time: kNN and linear accuracy on CIFAR-10, beside random weights.

    python benchmarks/methods.py --data FOLDER [--presets simsiam,nnclr,…] [--seeds 0] [--epochs 20] [--train-images 5000]
        [--test-images 2000] [--arch timm/resnet10t] [--vit timm/vit_small_patch8_224] [--size 32] [--batch 128]
        [--teacher vicreg_cifar10]

FOLDER: CIFAR-10 as JPEGs in train/<class>/* and test/<class>/*, or an archive of it. Each row is a real training run,
`python -m ssl_core`, of a preset: the method's `…_cifar10` where there is one, else its usual one. Methods, heads, optimisers
and views are the presets'; images, encoder, batch, epochs and seeds are the same for all (a preset that names a vision
transformer gets --vit), and learning rates follow the batch. `distill` learns from the encoder that --teacher, a preset before it
in the list, has made with the same seed. So this shows that all of them learn, and how soon; it is no
ranking: after twenty epochs a recipe made for a thousand has hardly begun.

Protocol: frozen features of the last epoch, on held-out test images; kNN with k = 20 and T = 0.07 (Wu et al. 2018) and a logistic
regression (L-BFGS, C = 1, standardised features), both with the training images as the labelled side. A row is printed as soon
as it is known; progress and the time that is left go to stderr.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cifar10_recipes import unpacked
from images import jpegs
from machine import describe
from measure import ROOT, Countdown, Failed, clock, say
from pydantic import ValidationError
from training_run import Run, complete_spec

from ssl_core.data.defaults import STATISTICS
from ssl_core.presets import PRESETS
from ssl_core.spec import METHOD_NAMES, TrainSpec, explain_all

MEASURES = ("knn_top1", "linear_top1")
EXTRA = ("dcl",)  # presets that are measured besides one of each method
DISTILLED, STAND_IN = "distill", "enc_" + 26 * "0"  # the teacher's id: its folder is told beside the spec
HEADER = ("method", "preset", "kNN", "linear", "minutes")

Figures = dict[str, float]


def usual_presets() -> list[str]:
    """One for each method, for CIFAR-10 where there is such a one."""
    usual = {}
    for name, recipe in PRESETS.items():
        method = recipe().method.name
        if method not in usual or name == f"{method}_cifar10":
            usual[method] = name
    usual = {method: usual[method] for method in METHOD_NAMES if method in usual}
    taught = [usual.pop("distill")]  # by one of the others: the last
    return [*usual.values(), *EXTRA, *taught]


def subset(part: Path, count: int, out: Path) -> int:
    """Copy so many pictures of class folders, evenly spread over the sorted files; returns how many there are."""
    paths = jpegs(part)
    count = min(count, len(paths))
    for number in range(count):
        path = paths[number * len(paths) // count]
        (out / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / path.parent.name / path.name)
    return count


def spec_of(preset: str, seed: int, data: Path, arguments: argparse.Namespace) -> TrainSpec:
    """The preset on these images; raises Failed with what is wrong where it needs more than that (a teacher, say)."""
    mean, std = STATISTICS["cifar10"]
    vision_transformer = PRESETS[preset]().encoder.arch.removeprefix("timm/").startswith(("vit", "deit"))
    sections = {
        "data": {"source": "folder", "path": data.name, "size": arguments.size, "mean": mean, "std": std},
        "encoder": {"arch": arguments.vit if vision_transformer else arguments.arch},
        "trainer": {"max_epochs": arguments.epochs, "batch_size": arguments.batch, "seed": seed},
        "evaluate": {"every_epochs": arguments.epochs, "max_images": max(arguments.train_images, 20), "linear": "logistic"},
    }
    if preset == DISTILLED:
        sections["method"] = {"name": "distill", "teacher": STAND_IN}
    try:
        return complete_spec(sections, preset, data.parent)
    except ValidationError as error:
        raise Failed("; ".join(f"{where}: {what}" for where, what in explain_all(error))) from error


def run(spec: TrainSpec, out: Path, data_root: Path, cache: Path, teacher: Path | None) -> tuple[Figures, Figures]:
    """Figures before the first step and after the last. Raises Failed."""
    with Run(spec, out, data_root, cache, teacher) as running:
        running.follow(lambda: False)
        found = [event["values"] for event in running.events("metrics") if set(MEASURES) <= set(event["values"])]
    if len(found) < 2:
        raise Failed("the run ended without an accuracy: are there labels on both sides?")
    return found[0], found[-1]


def cells(figures: Sequence[Figures]) -> list[str]:
    """Mean of each measure over the seeds, ± standard deviation where there are several."""
    shown = []
    for name in MEASURES:
        values = [each[name] for each in figures]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        shown.append(f"{statistics.mean(values):.1f}{spread}")
    return shown


def row(*texts: str) -> None:
    """A line of the table, at once."""
    print(f"| {' | '.join(texts)} |", flush=True)


def guesses(presets: Sequence[str]) -> list[float]:
    """Relative lengths of the runs, by the counted operations of their methods (docs/methods.json)."""
    known = json.loads((ROOT / "docs" / "methods.json").read_text(encoding="utf-8"))
    costs = [(known.get(PRESETS[preset]().method.name) or {}).get("cost") for preset in presets]
    return [60 * (cost["ratio"] if cost else 2.0) for cost in costs]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10: a folder with train/ and test/, or an archive of it")
    parser.add_argument(
        "--presets", type=lambda text: text.split(","), default=usual_presets(), help="default: one of each method"
    )
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--arch", default="timm/resnet10t")
    parser.add_argument("--vit", default="timm/vit_small_patch8_224", help="for presets that name a vision transformer")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--teacher", default="vicreg_cifar10", help="the preset whose encoder teaches `distill`")
    arguments = parser.parse_args()
    unknown = [preset for preset in arguments.presets if preset not in PRESETS]
    if unknown:
        parser.error(f"--presets {','.join(unknown)} is not known; there are {', '.join(PRESETS)}")
    if DISTILLED in arguments.presets and arguments.teacher not in arguments.presets[: arguments.presets.index(DISTILLED)]:
        parser.error(f"--presets: {arguments.teacher}, the --teacher, must come before {DISTILLED}")
    return arguments


def main() -> None:
    arguments = parse()
    with unpacked(arguments.data) as given, tempfile.TemporaryDirectory(prefix="imprint-bench-") as work:
        data = Path(work) / "cifar10"
        train = subset(given / "train", arguments.train_images, data / "train")
        held_out = subset(given / "test", arguments.test_images, data / "test")
        print(f"{describe(arguments.seeds)}\n{arguments.arch} (vision transformers: {arguments.vit}), {arguments.size} px, "
              f"{train} training and {held_out} held-out images, batch {arguments.batch}, {arguments.epochs} epochs. Last epoch; "
              "kNN k = 20, T = 0.07; linear: logistic regression on frozen features.\n")  # fmt: skip
        row(*HEADER)
        row(*["---"] * len(HEADER))
        countdown = Countdown([each for each in guesses(arguments.presets) for _ in arguments.seeds])
        before: dict[tuple[str, int], Figures] = {}
        for preset in arguments.presets:
            method, began, after = PRESETS[preset]().method.name, time.monotonic(), []
            try:
                for seed in arguments.seeds:
                    countdown.next(f"{preset}, seed {seed}")
                    spec = spec_of(preset, seed, data, arguments)
                    teacher = Path(work) / f"{arguments.teacher}-{seed}" / "encoder" if preset == DISTILLED else None
                    first, last = run(spec, Path(work) / f"{preset}-{seed}", data.parent, Path(work) / "cache", teacher)
                    before.setdefault((spec.encoder.arch, seed), first)
                    after.append(last)
            except Failed as error:
                say(f"{preset} failed: {error}")
                row(method, preset, "–", "–", f"failed: {str(error).replace('|', '/')}")
                continue
            row(method, preset, *cells(after), clock(time.monotonic() - began))
        for arch in dict.fromkeys(arch for arch, _ in before):
            row("random weights", arch, *cells([figures for (each, _), figures in before.items() if each == arch]), "")


if __name__ == "__main__":
    main()
