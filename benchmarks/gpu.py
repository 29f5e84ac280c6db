"""What training makes of a GPU, with ssl_core alone: torch, Lightning, torchvision, timm, scikit-learn, pydantic, nothing else.

    python benchmarks/gpu.py --data cifar10.tar.xz|DIR [--only step,epoch,vit] [--minutes 10] [--rounds 3] [--seconds 15]
    python benchmarks/gpu.py --data cifar10.tar.xz|DIR --only knn [--recipe moco_v2] [--epochs 100] [--minutes 10]

step   images/s of real training, as a share of forward, backward, optimiser and moving average alone (bare.py), in turns
epoch  seconds of one CIFAR-10 epoch in real training: ResNet-18, CIFAR stem, batch 512, two views
vit    images/s of real training of a ViT-S/16 at 224 px, SimCLR, batch 256, two views of pictures kept as uint8 of 256 px
knn    kNN accuracy after --epochs: features of the encoder, bank all 50,000 training images, queries the 10,000 test images,
       k = 200, T = 0.1, as FAIR's CIFAR-10 demo; and as the run itself measures (k = 20, T = 0.07, 5,000 of each). It takes all
       of the time, so it is a command of its own. When the minutes are nearly over, the run is stopped, and measured as it is.

DATA holds train/<class>/* and test/<class>/*, or is an archive of that. Real training is `python -m ssl_core` in a process of its
own, whose events are read; its first 30 steps, in which it may compile, are not counted. Prints Markdown as it goes.

Where Imprint is not installed, run it in the repository with PYTHONPATH=. (children get it by themselves). Every part also runs
on a CPU: --device cpu, with smaller --batch, --vit-batch, --epochs and so on, which says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from cifar10_recipes import RECIPES, cifar_spec, unpacked
from images import write_jpegs
from machine import describe
from measure import AS_A_TRAINER, Failed, clock, in_child, say, spread
from training_run import Run, complete_spec

from ssl_core import checkpoints
from ssl_core.assembly import method_of
from ssl_core.data.cache import Cache
from ssl_core.data.load import load_data
from ssl_core.evaluation import EvaluationData, extract
from ssl_core.probes import knn_accuracy
from ssl_core.spec import TrainSpec

PARTS = ("step", "epoch", "vit", "knn")
SHARE_GOAL, EPOCH_GOAL, KNN_GOAL, KNN_STRETCH = 0.9, 4.0, 78.1, 84.8
VIT_ANCHOR = 871  # images/s on an H200 with kornia's augmentation
VIT_GOAL = 3 * VIT_ANCHOR
VIT_KEPT = 256  # px
KNN_RESERVE = 60.0  # seconds: stopping, and the features of 60,000 images


class Place(NamedTuple):
    """Where things are while the script runs."""

    data: Path  # with train/ and test/
    work: Path  # for everything else
    ends: float  # time.monotonic() of the end of the minutes

    def left(self) -> float:
        return self.ends - time.monotonic()


def row(what: str, measured: str, goal: str, reached: bool) -> None:
    """A line of the table, as soon as it is known."""
    print(f"| {what} | {measured} | {goal} | {'reached' if reached else '**not reached**'} |", flush=True)


def step_and_epoch(parts: list[str], arguments: argparse.Namespace, place: Place) -> None:
    """Real training and the bare step in turns; an epoch's seconds follow from real training."""
    spec = cifar_spec(place.data, arguments)
    shares, speeds, bounds, epochs, compiled = [], [], [], [], False
    began = time.monotonic()
    for number in range(arguments.rounds):
        taken = (time.monotonic() - began) / max(number, 1)
        if number and taken > place.left():
            break
        with Run(spec, place.work / f"step{number}", place.data.parent, place.work / "cache") as run:
            speeds.append(run.speed(arguments.seconds, arguments.steps))
            total = run.events("progress")[-1]["steps_total"]
            epochs.append(total / arguments.epochs * arguments.batch / speeds[-1])
        say(f"round {number + 1}: training {speeds[-1]:,.0f} images/s, {epochs[-1]:.2f} s an epoch")
        if "step" in parts:
            task = {"seconds": arguments.seconds, "steps": arguments.steps, "total_steps": total}
            answered = in_child("bare.py", {"spec": spec.model_dump(mode="json"), **task}, AS_A_TRAINER)
            bounds.append(answered["images_per_second"])
            shares.append(speeds[-1] / bounds[-1])
            compiled = answered["compiled"]
            say(f"round {number + 1}: bare {bounds[-1]:,.0f} images/s, of which training reaches {shares[-1]:.1%}")
    network = f"{arguments.arch}, stem {spec.encoder.stem}, batch {arguments.batch}, {arguments.recipe}"
    if "step" in parts:
        how = f"{'compiled, ' if compiled else ''}training {spread(speeds)}, bare {spread(bounds)} images/s"
        middle = statistics.median(shares)
        row(f"share of the bare step ({network}; {how})", spread(shares, "{:.1%}"), f"≥ {SHARE_GOAL:.0%}", middle >= SHARE_GOAL)
    if "epoch" in parts:
        middle = statistics.median(epochs)
        row(f"seconds per epoch ({network})", spread(epochs, "{:.2f}"), f"≤ {EPOCH_GOAL:g} on an H200", middle <= EPOCH_GOAL)


def vit(arguments: argparse.Namespace, place: Place) -> None:
    """Real training of a vision transformer, on crops of photographs: what is in them changes no time."""
    folder = place.work / "photographs"
    write_jpegs(folder, max(2048 if torch.cuda.is_available() else 0, 2 * arguments.vit_batch), VIT_KEPT, arguments.seed)
    sections = {
        "data": {"source": "folder", "path": folder.name, "size": arguments.vit_size},
        "encoder": {"arch": arguments.vit},
        "optim": {"lr": 0.01},
        "trainer": {"batch_size": arguments.vit_batch, "seed": arguments.seed},
    }
    spec = complete_spec(sections, "simclr", folder.parent)
    speeds: list[float] = []
    while len(speeds) < arguments.rounds and (not speeds or place.left() > 60 + 2 * arguments.seconds):
        with Run(spec, place.work / f"vit{len(speeds)}", folder.parent, place.work / "cache") as run:
            speeds.append(run.speed(arguments.seconds, arguments.steps))
        say(f"round {len(speeds)}: {speeds[-1]:,.0f} images/s")
    what = f"images/s ({arguments.vit}, {arguments.vit_size} px, batch {arguments.vit_batch}, simclr)"
    row(what, spread(speeds), f"≥ {VIT_GOAL:,} on an H200", statistics.median(speeds) >= VIT_GOAL)


def knn(arguments: argparse.Namespace, place: Place) -> None:
    """Train, and ask the nearest neighbours."""
    evaluate = {"every_epochs": "auto", "max_images": 5000, "linear": "off"}
    spec = cifar_spec(place.data, arguments, evaluate=evaluate, trainer={"checkpoint_every_seconds": 60})
    reserve = min(KNN_RESERVE, 60 * arguments.minutes / 4)
    began = time.monotonic()
    with Run(spec, place.work / "knn", place.data.parent, place.work / "cache") as run:
        run.follow(_watched(run, lambda: place.left() < reserve))
        run.stop()
        events, out = run.events(), run.out
    minutes = (time.monotonic() - began) / 60
    progress = [event for event in events if event["type"] == "progress"]
    if not progress:
        raise Failed("the minutes were over before the first step was done")
    done = progress[-1]["fraction"] * arguments.epochs
    own = [event["values"]["knn_top1"] for event in events if event["type"] == "metrics" and "knn_top1" in event["values"]]
    accuracy = knn_of_checkpoint(spec, out, place.data.parent, place.work / "cache")
    what = (
        f"kNN top-1 after {done:.3g} of {arguments.epochs} epochs, {minutes:.1f} minutes ({arguments.recipe}, {arguments.arch})"
    )
    measured = f"{accuracy:.1f} (by the run's own protocol {own[0]:.1f} → {own[-1]:.1f})"
    in_time = events[-1]["type"] == "finished" and minutes <= 10 and arguments.epochs <= 100
    row(what, measured, f"> {KNN_GOAL} after 100 epochs in 10 minutes", in_time and accuracy > KNN_GOAL)
    row("the same, stretch", f"{accuracy:.1f}", f"≥ {KNN_STRETCH}", in_time and accuracy >= KNN_STRETCH)


def _watched(run: Run, over: Callable[[], bool]) -> Callable[[], bool]:
    """Says each evaluation once, and how far the run is twice a minute; true when the time is over."""
    told, said = 0, time.monotonic()

    def enough() -> bool:
        nonlocal told, said
        evaluated = [event for event in run.events("metrics") if "knn_top1" in event["values"]]
        for event in evaluated[told:]:
            say(f"epoch {event['epoch']}: kNN {event['values']['knn_top1']:.1f}")
        told = len(evaluated)
        progress = run.events("progress")
        if progress and time.monotonic() - said > 30:
            said = time.monotonic()
            left = clock(progress[-1]["eta_seconds"] or 0)
            say(f"epoch {progress[-1]['epoch']}, {progress[-1]['images_per_second']:,.0f} images/s, {left} left")
        return over()

    return enough


def knn_of_checkpoint(spec: TrainSpec, out: Path, data_root: Path, cache: Path) -> float:
    """Accuracy in percent by FAIR's protocol of the newest weights: all training images, all held-out ones, k = 200, T = 0.1."""
    found = checkpoints.newest([out / "checkpoints"])
    assert found is not None and spec.data.size and spec.data.mean and spec.data.std
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    method = method_of(spec)
    method.load_state_dict(checkpoints.AtomicCheckpointIO().load_checkpoint(found.path)["state_dict"])
    served = method.to(device).serving_encoder()
    data = load_data(spec.data, data_root, max_eval_images=10**9, cache=Cache(cache))
    view = EvaluationData(data.bank, data.queries, spec.data.size, spec.data.mean, spec.data.std)
    sides = []
    for store in (data.bank, data.queries):
        assert store is not None and store.labels is not None
        sides.append((extract(served, store, view, device).to(device), store.labels.to(device)))
    (bank, bank_labels), (queries, labels) = sides
    return knn_accuracy(bank, bank_labels, queries, labels, k=200, temperature=0.1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10: a folder with train/ and test/, or an archive of it")
    parser.add_argument("--only", type=lambda text: text.split(","), default=["step", "epoch", "vit"], help=", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto")
    parser.add_argument("--recipe", choices=[*RECIPES], default="moco_v2")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--stem", choices=["auto", "imagenet", "cifar"], default="cifar")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, help="default: 0.24 at batch 512, in proportion to it")
    parser.add_argument("--vit", default="timm/vit_small_patch16_224", help="the architecture of that part")
    parser.add_argument("--vit-size", type=int, default=224)
    parser.add_argument("--vit-batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of one measurement")
    parser.add_argument("--steps", type=int, help="so many steps in place of seconds")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    unknown = [part for part in arguments.only if part not in PARTS]
    if unknown:
        parser.error(f"--only {','.join(unknown)} is not known; there are {', '.join(PARTS)}")
    return arguments


def main() -> None:
    arguments = parse()
    ends = time.monotonic() + 60 * arguments.minutes
    if arguments.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with unpacked(arguments.data) as data, tempfile.TemporaryDirectory(prefix="imprint-bench-") as work:
        place = Place(data, Path(work), ends)
        print(f"{describe(arguments.seed)}\n\n| what | measured | goal | |\n| --- | --- | --- | --- |", flush=True)
        timed = [part for part in arguments.only if part in ("step", "epoch")]
        parts: list[tuple[bool, Callable[[], None]]] = [
            (bool(timed), lambda: step_and_epoch(timed, arguments, place)),
            ("vit" in arguments.only, lambda: vit(arguments, place)),
            ("knn" in arguments.only, lambda: knn(arguments, place)),
        ]
        for wanted, part in parts:
            if wanted:
                try:
                    part()
                except Failed as error:
                    say(f"failed: {error}")


if __name__ == "__main__":
    main()
