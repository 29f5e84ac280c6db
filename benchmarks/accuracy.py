"""Whether the fast path costs accuracy: the same training with batched views and with views drawn by torchvision on PIL images.

    python benchmarks/accuracy.py DATA [--train-images 5000] [--epochs 6] [--seeds 0,1,2] [--method simclr] [--arch resnet18]
        [--stem imagenet] [--batch 128] [--threads 2] [--control]

DATA: a folder with train/<class>/* and test/<class>/* of CIFAR-10 as JPEGs, or an archive of it (.tar.xz). For each seed, all
runs have the same method, initial weights, images, order of images, optimiser, schedule, precision, loop and evaluation; they
differ in who draws `batch.views`. The recipe of the views is one: the reference's, without blur. Accuracies are those of the last
epoch, kNN (k = 20, T = 0.07) and logistic regression on frozen features of held-out test images; the bank is the training images.

--control adds a run whose views have no colour augmentation, to show how large a difference the benchmark would see.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import tarfile
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from images import decode, picture
from machine import describe
from reference import Views, reference_transform
from torch import Tensor
from torchvision.datasets import ImageFolder

from ssl_core.assembly import method_of
from ssl_core.augment import make_views
from ssl_core.data.batch import Batch
from ssl_core.data.batches import permutation
from ssl_core.data.sources import SourceFacts
from ssl_core.data.store import InMemoryStore
from ssl_core.evaluation import EvaluationData, evaluate
from ssl_core.hardware import choose_precision
from ssl_core.methods import Method
from ssl_core.presets import complete
from ssl_core.spec import TrainSpec

SIZE = 32
OURS, PIL, CONTROL, RANDOM = "ours", "torchvision on PIL", "control: no colour augmentation", "random weights"
MEASURES = {"knn_top1": "kNN", "linear_top1": "linear"}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Draw = Callable[[Tensor, int], Views]  # (numbers of images int64 (N,), epoch) -> two views (N, 3, SIZE, SIZE) float32
Figures = dict[str, dict[str, list[float]]]  # path, measure: a figure for each seed


def drawn_by_us(images: Tensor, spec: TrainSpec) -> Draw:
    """The fast path: uint8 batches become views on the device. `images` uint8 (M, 3, SIZE, SIZE)."""
    mean, std = _statistics(spec)
    on_device = images.to(DEVICE)

    def draw(index: Tensor, epoch: int) -> Views:
        index = index.to(DEVICE)
        return make_views(on_device[index], spec.augment, SIZE, mean, std, spec.trainer.seed, epoch, index)

    return draw


def drawn_on_pil(images: Tensor, spec: TrainSpec) -> Draw:
    """The reference's path: each image alone, by torchvision's transforms, from the same pixels. Global generators."""
    transform = reference_transform(SIZE, False, *_statistics(spec))

    def draw(index: Tensor, epoch: int) -> Views:
        views = [transform(picture(images[number])) for number in index.tolist()]
        return torch.stack([a for a, _ in views]).to(DEVICE), torch.stack([b for _, b in views]).to(DEVICE)

    return draw


class Batches:
    """All batches of the run, epoch after epoch, as the one epoch that Lightning sees. What draws the views is a parameter."""

    def __init__(self, count: int, spec: TrainSpec, draw: Draw) -> None:
        self.count, self.spec, self.draw = count, spec, draw
        self.per_epoch = count // spec.trainer.batch_size

    def __len__(self) -> int:
        return self.per_epoch * self.spec.trainer.max_epochs

    def __iter__(self) -> Iterator[Batch]:
        size = self.spec.trainer.batch_size
        for epoch in range(self.spec.trainer.max_epochs):
            order = permutation(self.count, self.spec.trainer.seed, epoch)
            for index in torch.split(order[: self.per_epoch * size], size):
                view_a, view_b = (view.contiguous(memory_format=torch.channels_last) for view in self.draw(index, epoch))
                yield Batch((view_a, view_b), index)


def build(spec: TrainSpec) -> Method:
    """The method with the weights that every run of this seed begins with; sets all generators."""
    pl.seed_everything(spec.trainer.seed, verbose=False)
    return method_of(spec)


def train(method: Method, spec: TrainSpec, images: int, draw: Draw) -> None:
    """One run on so many images, with the views of `draw`."""
    batches = Batches(images, spec, draw)
    method.steps_per_epoch = batches.per_epoch
    trainer = pl.Trainer(
        accelerator="gpu" if DEVICE.type == "cuda" else "cpu",
        devices=1,
        precision=choose_precision(spec.trainer.precision),
        max_epochs=1,  # of Lightning: the whole run is one
        gradient_clip_val=spec.trainer.gradient_clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, train_dataloaders=batches)


def accuracies(method: Method, spec: TrainSpec, data: EvaluationData) -> dict[str, float]:
    """Of the encoder that would be served, in percent."""
    figures = evaluate(method.serving_encoder().to(DEVICE), data, spec.evaluate, DEVICE)
    return {name: figures[name] for name in MEASURES}


def recipe(arguments: argparse.Namespace, classes: Sequence[str], seed: int) -> TrainSpec:
    """The preset of the method, completed as for a job of so many CIFAR-10 images."""
    sections = {
        "data": {"source": "cifar10"},
        "encoder": {"arch": arguments.arch, "stem": arguments.stem},
        "method": {"name": arguments.method},
        "trainer": {"max_epochs": arguments.epochs, "batch_size": arguments.batch, "seed": seed},
        "augment": {"blur": 0.0, "second_view": {}},
    }
    facts = SourceFacts("cifar10", arguments.train_images, arguments.test_images, tuple(classes), (SIZE, SIZE), 3, True, "", ())
    return complete(sections, facts=facts).spec


def read(folder: Path, count: int) -> tuple[InMemoryStore, list[str]]:
    """At most `count` images of a folder of class folders, the same ones at every call, and the classes' names."""
    found = ImageFolder(str(folder))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))[:count].tolist()
    chosen = [found.samples[number] for number in order]
    images = decode([Path(path) for path, _ in chosen], SIZE)
    return InMemoryStore(images, torch.tensor([label for _, label in chosen])), found.classes


@contextmanager
def unpacked(data: Path) -> Iterator[Path]:
    """`data`, or, if it is an archive, a temporary folder with what is in it."""
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as temporary:
        if data.is_file():
            with tarfile.open(data) as archive:
                archive.extractall(temporary, filter="data")
            data = Path(temporary)
        if not (data / "train").is_dir() or not (data / "test").is_dir():
            raise SystemExit(f"{data} has no train/ and test/: give a folder, or an archive of one, with both in class folders")
        yield data


def report(figures: Figures) -> list[str]:
    """Two tables: each path over the seeds, and the differences paired by seed."""
    lines = [f"| views | {' | '.join(MEASURES.values())} |", "|---|" + "---|" * len(MEASURES)]
    for path, measured in figures.items():
        lines.append(f"| {path} | {' | '.join(_mean_and_spread(measured[name]) for name in MEASURES)} |")
    lines += ["", f"| difference, paired by seed | {' | '.join(MEASURES.values())} |", "|---|" + "---|" * len(MEASURES)]
    for other in (path for path in (PIL, CONTROL) if path in figures):
        cells = [compare(figures[OURS][name], figures[other][name]) for name in MEASURES]
        lines.append(f"| {OURS} - {other} | {' | '.join(cells)} |")
    return lines


def compare(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Mean difference ± its standard error over the pairs, and a verdict.

    Within noise: smaller than two standard errors, or than the standard deviation over the seeds of the path that has more.
    """
    differences = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}, one seed: noise unknown"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    noise = max(2 * error, statistics.stdev(ours), statistics.stdev(theirs))
    return f"{mean:+.2f} ± {error:.2f}, {'within' if abs(mean) < noise else 'beyond'} noise ({noise:.2f})"


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def _statistics(spec: TrainSpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert spec.data.mean is not None and spec.data.std is not None
    return spec.data.mean, spec.data.std


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--test-images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--method", choices=["moco", "simclr", "byol", "vicreg"], default="simclr")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--stem", choices=["imagenet", "cifar"], default="imagenet")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, help="default: torch's")
    parser.add_argument("--control", action="store_true", help="also train ours without colour augmentation")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")

    with unpacked(arguments.data) as folder:
        (bank, classes), (queries, _) = (
            read(folder / "train", arguments.train_images),
            read(folder / "test", arguments.test_images),
        )
    arguments.train_images, arguments.test_images = len(bank), len(queries)
    figures: Figures = {}
    for seed in arguments.seeds:
        spec = recipe(arguments, classes, seed)
        data = EvaluationData(bank, queries, SIZE, *_statistics(spec))
        plain = spec.changed(augment={**spec.augment.model_dump(), "jitter": 0.0, "grayscale": 0.0})
        paths: dict[str, Draw | None] = {RANDOM: None, OURS: drawn_by_us(bank.images, spec), PIL: drawn_on_pil(bank.images, spec)}
        if arguments.control:
            paths[CONTROL] = drawn_by_us(bank.images, plain)
        for path, draw in paths.items():
            began = time.monotonic()
            method = build(spec)
            if draw is not None:
                train(method, spec, len(bank), draw)
            found = accuracies(method, spec, data)
            for name, value in found.items():
                figures.setdefault(path, {}).setdefault(name, []).append(value)
            said = ", ".join(f"{title} {found[name]:.1f}" for name, title in MEASURES.items())
            print(f"seed {seed}, {path}: {said}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)

    print(describe(arguments.seeds))
    print(f"{arguments.method}, {arguments.arch}, {arguments.stem} stem, batch {arguments.batch}, epochs {arguments.epochs}, "
          f"{len(bank)} training and {len(queries)} held-out images: standard error of an accuracy up to "
          f"{50 / math.sqrt(len(queries)):.1f} points. Mean ± standard deviation over seeds.\n")  # fmt: skip
    print("\n".join(report(figures)))


if __name__ == "__main__":
    main()
