"""Whether collapses are caught, and how soon, and whether healthy runs raise alarms.

    python benchmarks/health.py [--data DIGITS_OR_FOLDER] [--steps 300] [--only "NAME; …"] [--arch resnet18]
        [--vit timm/vit_small_patch8_224] [--size PX] [--batch 128] [--seed 0]

Real runs, as jobs are run (`ssl_core.train`), with `on_collapse: "stop"`. BROKEN ones lack what keeps the constant answer away,
and should be told as collapsed; no preset should, except those of the blog post that show what goes wrong (ABLATIONS). Alarms are
the verdicts collapsing, collapsed and diverged. --data: `digits` (default), or a folder of images, such as CIFAR-10's train/.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from machine import describe as machine
from measure import clock, say, table

from ssl_core.data.cache import Cache
from ssl_core.data.sources import describe
from ssl_core.events import Events
from ssl_core.export import ExportError
from ssl_core.health import ALARMS
from ssl_core.loop import Diverged
from ssl_core.presets import PRESETS, complete
from ssl_core.spec import TrainSpec
from ssl_core.train import train
from ssl_core.vitals import Collapsed

_HEAD = {"layers": 2, "hidden_dim": 256, "out_dim": 64}

# Each method without the part that prevents its collapse. A new method that can collapse gets an entry here.
BROKEN: dict[str, dict[str, Any]] = {
    "byol: no predictor, shared target": {
        "method": {"name": "byol", "branches": {"target": "shared", "projector": _HEAD, "predictor": {"layers": 0}}},
        "optim": {"name": "sgd", "lr": 0.1},
    },
    "byol: no predictor, target at once": {  # m = 0: the target is the network of the step before
        "method": {
            "name": "byol",
            "branches": {"momentum": 0.0, "momentum_schedule": "constant", "projector": _HEAD, "predictor": {"layers": 0}},
        },
        "optim": {"name": "sgd", "lr": 0.1},
    },
    "vicreg: no variance": {
        "method": {
            "name": "vicreg",
            "variance_weight": 0.0,
            "branches": {"target": "shared", "normalize": False, "projector": {**_HEAD, "norm": "bn"}},
        },
        "optim": {"name": "sgd", "lr": 0.02},
    },
    "dino: no centring": {
        "method": {"name": "dino", "prototypes": 1024, "center_momentum": 1.0},
        "optim": {"name": "adamw", "lr": 0.0005},
    },
}
ABLATIONS = ("no_norm", "layer_norm")  # BYOL without the batch norm that it needs
TAUGHT = ("distill",)  # needs a teacher


@dataclass
class Outcome:
    """What a run has told: the first alarm, the first `collapsed`, all verdicts in order, and the last measures."""

    steps: int = 0
    first_alarm: int | None = None
    collapsed: int | None = None
    verdicts: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)

    def listen(self, event: dict[str, Any]) -> None:
        """An Events listener."""
        if event["type"] == "metrics":
            self.steps = event["step"]
            self.values |= event["values"]
        if event["type"] != "health":
            return
        if not self.verdicts or self.verdicts[-1] != event["verdict"]:
            self.verdicts.append(event["verdict"])
        if event["verdict"] in ALARMS and self.first_alarm is None:
            self.first_alarm = event["step"]
        if event["verdict"] == "collapsed" and self.collapsed is None:
            self.collapsed = event["step"]


def spec_of(name: str, arguments: argparse.Namespace, root: Path) -> TrainSpec:
    """A broken run or a preset by name, completed for these images and cut to so many steps."""
    digits = arguments.data == "digits"
    data: dict[str, Any] = {"source": "digits"} if digits else {"source": "folder", "path": Path(arguments.data).name}
    sections = {**BROKEN.get(name, {}), "data": {**data, "size": arguments.size}}
    arch = PRESETS[name]().encoder.arch if name in PRESETS else ""
    if arch.startswith("timm/vit"):
        sections["encoder"] = {"arch": arguments.vit}
    else:
        sections["encoder"] = {"arch": arguments.arch, "stem": "imagenet"}
    sections["evaluate"] = {"linear": "off", "max_images": 500}
    sections["trainer"] = {"batch_size": arguments.batch, "seed": arguments.seed, "on_collapse": "stop"}
    sections["trainer"]["checkpoint_every_seconds"] = 3600
    facts = describe(complete(sections).spec.data, root)
    per_epoch = max(1, facts.images // arguments.batch)
    sections["trainer"] |= {"max_epochs": math.ceil(arguments.steps / per_epoch)}
    return complete(sections, name if name in PRESETS else None, facts, gpu=torch.cuda.is_available()).spec


def run(spec: TrainSpec, root: Path, cache: Cache) -> Outcome:
    """Train as a job does, and listen."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as out, suppress(Diverged, Collapsed, ExportError):
        train(spec, Path(out), data_root=root, cache=cache, events=Events(None, outcome.listen))
    return outcome


def row(name: str, outcome: Outcome) -> list[str]:
    """A line of the table."""
    measured = [outcome.values.get(each) for each in ("batch_std", "effective_rank", "knn_top1")]
    return [
        name,
        "broken" if name in BROKEN else "healthy",
        str(outcome.steps),
        "–" if outcome.first_alarm is None else str(outcome.first_alarm),
        "–" if outcome.collapsed is None else str(outcome.collapsed),
        " → ".join(outcome.verdicts),
        *("–" if value is None else f"{value:.3g}" for value in measured),
    ]


HEADER = ["run", "expected", "steps", "alarm at", "collapsed at", "verdicts", "batch std", "rank", "kNN"]


def missed(name: str, outcome: Outcome) -> bool:
    """Whether a collapse was not told, or a healthy run has raised an alarm."""
    return outcome.collapsed is None if name in BROKEN else outcome.first_alarm is not None


def counts(outcomes: dict[str, Outcome]) -> list[str]:
    """The two sentences that matter."""
    broken = {name: each for name, each in outcomes.items() if name in BROKEN}
    caught = [each.collapsed for each in broken.values() if each.collapsed is not None]
    healthy = {name: each for name, each in outcomes.items() if name not in BROKEN}
    false = [name for name, each in healthy.items() if each.first_alarm is not None]
    within = f", the last of them at step {max(caught)}" if caught else ""
    return [
        f"collapses caught: {len(caught)} of {len(broken)}{within}",
        f"alarms of healthy runs: {len(false)} of {len(healthy)}{': ' + ', '.join(false) if false else ''}",
    ]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(";")]


def main(argv: Sequence[str] | None = None) -> int:
    """0 if all that is broken was caught, and nothing healthy raised an alarm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [*BROKEN, *(name for name in PRESETS if name not in ABLATIONS + TAUGHT)]
    parser.add_argument("--data", default="digits")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", type=_names, default=everything, help="names, with semicolons between them")
    parser.add_argument("--arch", default="resnet18", help="of every run but those of vision transformers")
    parser.add_argument("--vit", default="timm/vit_small_patch8_224", help="of presets that name a vision transformer")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.only if name not in BROKEN and name not in PRESETS]
    if unknown:
        raise SystemExit(f"{unknown[0]!r} is neither a preset nor one of: {'; '.join(BROKEN)}")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    root = Path(".") if arguments.data == "digits" else Path(arguments.data).resolve().parent
    outcomes: dict[str, Outcome] = {}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as prepared:
        for number, name in enumerate(arguments.only, 1):
            outcomes[name] = run(spec_of(name, arguments, root), root, Cache(Path(prepared)))
            took = time.monotonic() - began
            left = took / number * (len(arguments.only) - number)
            say(f"{number}/{len(arguments.only)} {name}: {' → '.join(outcomes[name].verdicts)}; {clock(left)} left")
    print(machine([arguments.seed]))
    print(f"{arguments.data}, {arguments.arch}, {arguments.size} px, batch {arguments.batch}, {arguments.steps} steps\n")
    print(table(HEADER, [row(name, outcome) for name, outcome in outcomes.items()]) + "\n")
    print("\n".join(counts(outcomes)))
    return int(any(missed(name, each) for name, each in outcomes.items()))


if __name__ == "__main__":
    sys.exit(main())
