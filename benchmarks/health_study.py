"""Which measure that needs no labels tells what a linear classifier will make of the encoder?

    python benchmarks/health_study.py DATA [--images 1500] [--epochs 5] [--methods moco,simclr,byol,vicreg] [--arch resnet18]
        [--batch 128] [--seed 0]

DATA: a folder with train/<class>/* and test/<class>/* of CIFAR-10 as JPEGs, or an archive of it. For each method its preset, and
that with one thing changed: learning rate, length, crops, colours. After each run every measure of `ssl_core.health` is taken of
held-out images, and a logistic regression on frozen features; alignment is always of the same views, whatever the run trained on.
Printed: Spearman's rank correlation of each measure with the accuracy, over all runs, and the mean of those within each method;
positive where a larger value of the measure goes with a better encoder.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accuracy import DEVICE, SIZE, build, drawn_by_us, read, train, unpacked
from machine import describe
from measure import clock, say, table
from scipy.stats import spearmanr

from ssl_core.data.defaults import STATISTICS
from ssl_core.data.sources import SourceFacts
from ssl_core.data.store import InMemoryStore
from ssl_core.evaluation import EvaluationData, NotFinite, evaluate
from ssl_core.presets import complete
from ssl_core.spec import AugmentConfig, TrainSpec
from ssl_core.vitals import spread_of_the_batch

# What differs from the preset: (name, factor on the learning rate, factor on the epochs, fields of the views).
VARIANTS: tuple[tuple[str, float, float, dict[str, Any]], ...] = (
    ("as it is", 1, 1, {}),
    ("lr / 10", 0.1, 1, {}),
    ("lr × 5", 5, 1, {}),
    ("a fifth of the epochs", 1, 0.2, {}),
    ("large crops", 1, 1, {"crop_scale": (0.7, 1.0)}),
    ("small crops", 1, 1, {"crop_scale": (0.05, 0.3)}),
    ("no colour", 1, 1, {"jitter": 0.0, "grayscale": 0.0}),
)
MEASURES = {  # how each is to be read: larger is better, once it is multiplied by this
    "effective_rank": 1, "embedding_std": 1, "uniformity": -1, "alignment": -1, "alignment + uniformity": -1, "alpha_req": -1,
    "distance of alpha_req from 1": -1, "batch_rank": 1, "batch_std": 1, "lidar": 1, "knn_top1": 1,
}  # fmt: skip
ACCURACY = "linear_top1"
Figures = dict[str, float]


def spec_of(method: str, variant: tuple[str, float, float, dict[str, Any]], arguments: argparse.Namespace) -> TrainSpec:
    """The method's preset as for so many CIFAR-10 images, with the variant's change."""
    _, lr, epochs, views = variant
    facts = SourceFacts("cifar10", arguments.images, arguments.images, None, (SIZE, SIZE), 3, True, "", ())
    sections = {
        "data": {"source": "cifar10"},
        "encoder": {"arch": arguments.arch, "stem": "imagenet"},
        "method": {"name": method},
        "augment": {"blur": 0.0, "second_view": {}, **views},
        "trainer": {
            "max_epochs": max(1, round(arguments.epochs * epochs)),
            "batch_size": arguments.batch,
            "seed": arguments.seed,
        },
    }
    spec = complete(sections, facts=facts).spec
    return spec.changed(optim={**spec.optim.model_dump(), "lr": spec.optim.lr * lr})


def measured(spec: TrainSpec, bank: InMemoryStore, queries: InMemoryStore) -> Figures:
    """All measures after a run, or of random weights where the spec's learning rate is None; {} if it has diverged."""
    method = build(spec)
    train(method, spec, len(bank), drawn_by_us(bank.images, spec))
    mean, std = STATISTICS["cifar10"]
    data = EvaluationData(bank, queries, SIZE, mean, std, AugmentConfig(blur=0.0))
    try:
        found = evaluate(method.serving_encoder().to(DEVICE), data, spec.evaluate, DEVICE)
    except NotFinite:
        return {}
    found |= spread_of_the_batch(method)
    found["distance of alpha_req from 1"] = abs(found["alpha_req"] - 1)
    found["alignment + uniformity"] = found["alignment"] + found["uniformity"]
    return found


def correlations(runs: Sequence[tuple[str, Figures]]) -> list[list[str]]:
    """Rows of (measure, over all runs, mean within methods), the best first. runs: (method, figures)."""
    methods = list(dict.fromkeys(method for method, _ in runs))
    rows: list[tuple[float, list[str]]] = []
    for name, sign in MEASURES.items():
        overall = _rank_correlation([figures for _, figures in runs], name, sign)
        within = [_rank_correlation([figures for each, figures in runs if each == method], name, sign) for method in methods]
        known = [each for each in within if not math.isnan(each)]
        mean = statistics.mean(known) if known else math.nan
        rows.append((overall, [name, f"{overall:+.2f}", f"{mean:+.2f}", *(f"{each:+.2f}" for each in within)]))
    return [row for _, row in sorted(rows, key=lambda each: -math.inf if math.isnan(each[0]) else -each[0])]


def _rank_correlation(figures: Sequence[Figures], name: str, sign: float) -> float:
    pairs = [(sign * each[name], each[ACCURACY]) for each in figures if math.isfinite(each.get(name, math.nan))]
    if len(pairs) < 3 or len(set(pairs)) < 3:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a measure that is the same everywhere correlates with nothing
        return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, measure, correlate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=1500, help="to train on, and as many held out")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--methods", type=lambda text: text.split(","), default=["moco", "simclr", "byol", "vicreg"])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    with unpacked(arguments.data) as folder:
        (bank, _), (queries, _) = (read(folder / part, arguments.images) for part in ("train", "test"))
    arguments.images = len(bank)

    runs: list[tuple[str, Figures]] = []
    lines: list[list[str]] = []
    began, total = time.monotonic(), len(arguments.methods) * len(VARIANTS)
    for number, (method, variant) in enumerate(((m, v) for m in arguments.methods for v in VARIANTS), 1):
        found = measured(spec_of(method, variant, arguments), bank, queries)
        if found:
            runs.append((method, found))
        lines.append([method, variant[0], *(f"{found[name]:.3g}" if found else "diverged" for name in (ACCURACY, *MEASURES))])
        left = (time.monotonic() - began) / number * (total - number)
        say(f"{number}/{total} {method}, {variant[0]}: linear {found.get(ACCURACY, math.nan):.1f}; {clock(left)} left")

    print(describe(arguments.seed))
    print(
        f"{len(runs)} runs, {arguments.arch}, batch {arguments.batch}, epochs {arguments.epochs}, {len(bank)} training images\n"
    )
    print(table(["method", "variant", "linear", *MEASURES], lines) + "\n")
    print(table(["measure", "all runs", "mean within methods", *arguments.methods], correlations(runs)))


if __name__ == "__main__":
    sys.exit(main())
