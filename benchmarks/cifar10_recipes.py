"""CIFAR-10 as JPEGs in class folders, and recipes for it that take a hundred epochs."""

from __future__ import annotations

import tarfile
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training_run import complete_spec

from ssl_core.data.defaults import STATISTICS
from ssl_core.spec import TrainSpec

# Batch 512 and SGD as in the CIFAR-10 benchmarks of FAIR's demo (queue, momentum, temperature) and of lightly (rate, heads).
OPTIM = {"name": "sgd", "lr": 0.24, "momentum": 0.9, "weight_decay": 5e-4, "exclude": "none", "warmup_epochs": 2}
AUGMENT = {"saturation": 0.4, "blur": 0.0, "solarize": 0.0, "second_view": {"blur": 0.0, "solarize": 0.0}}
HEAD = {"layers": 2, "hidden_dim": 512, "out_dim": 128, "norm": "bn"}
WIDE_HEAD = {"layers": 2, "hidden_dim": 1024, "out_dim": 256, "norm": "bn"}
RECIPES: dict[str, dict[str, Any]] = {
    "moco_v2": {
        "name": "moco",
        "queue_size": 4096,
        "symmetric": True,
        "loss": {"temperature": 0.1},
        "branches": {"projector": {**HEAD, "norm": None}, "momentum": 0.99},
    },
    "simclr": {"name": "simclr", "loss": {"temperature": 0.5}, "branches": {"projector": HEAD}},
    "byol": {"name": "byol", "branches": {"projector": WIDE_HEAD, "predictor": WIDE_HEAD, "momentum": 0.99}},
}


@contextmanager
def unpacked(data: Path) -> Iterator[Path]:
    """The folder with train/ and test/, out of an archive if need be."""
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as folder:
        if data.is_file():
            with tarfile.open(data) as archive:
                archive.extractall(folder, filter="data")
            data = Path(folder)
        for part in ("train", "test"):
            if not (data / part).is_dir():
                raise SystemExit(
                    f"{data} has no {part}/: give CIFAR-10 as train/<class>/* and test/<class>/*, or an archive of that"
                )
        yield data.resolve()


def cifar_spec(data: Path, arguments: Namespace, **sections: dict[str, Any]) -> TrainSpec:
    """A recipe on the folder `data`, for so many epochs; `sections` go on top.

    Of arguments: recipe, epochs, arch, stem, size (px), batch, lr (None: the recipe's, in proportion to the batch), seed.
    """
    mean, std = STATISTICS["cifar10"]
    trainer = {"batch_size": arguments.batch, "max_epochs": arguments.epochs, "seed": arguments.seed}
    optim = {**OPTIM, "lr": arguments.lr or OPTIM["lr"] * arguments.batch / 512}
    whole = {
        "data": {"source": "folder", "path": data.name, "size": arguments.size, "mean": mean, "std": std},
        "encoder": {"arch": arguments.arch, "stem": arguments.stem},
        "method": RECIPES[arguments.recipe],
        "augment": AUGMENT,
        "optim": {**optim, "warmup_epochs": min(OPTIM["warmup_epochs"], arguments.epochs / 10)},
        **sections,
        "trainer": {**trainer, **sections.get("trainer", {})},
    }
    return complete_spec(whole, arguments.recipe, data.parent)
