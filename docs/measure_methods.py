"""Measures what docs/methods.md says of each method's tests and cost, and writes it to docs/methods.json.

    python docs/measure_methods.py              all methods, about ten seconds each
    python docs/measure_methods.py moco nnclr   these; the others stay as they are
    python docs/generate.py                     then puts the table into the page

oracle      largest absolute difference of the loss, and of its gradient, to another implementation (tests/support/oracles.py)
learning    percentage points that an encoder gains over its random weights in tests/ssl_core/methods/test_learning.py, per seed
cost        floating-point operations of a training step over those of a supervised step on the same images, both forward and
            backward: of the method's recipe with its batch, heads and local views, on `encoder` (and for a
            teacher) at 224 px; nothing is computed

null stands for what there is not (yet). The cost follows from the code alone, and a test works it out again.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from ssl_core.data.batch import Batch  # noqa: E402
from ssl_core.encoders import build_encoder  # noqa: E402
from ssl_core.methods import build_method  # noqa: E402
from ssl_core.parts.teacher import Teacher  # noqa: E402
from ssl_core.presets import recipe_of  # noqa: E402
from ssl_core.spec import METHOD_NAMES  # noqa: E402

FILE = ROOT / "docs" / "methods.json"
LEARNING = ROOT / "tests" / "ssl_core" / "methods" / "test_learning.py"
SIZE, CLASSES, SEEDS = 224, 1000, (0, 1, 2)
ENCODER = "resnet50"


def oracle(name: str) -> dict[str, float] | None:
    """Two digits of the largest errors over all shapes, seeds and conventions."""
    from support.oracles import largest

    found = largest(name)
    return found and {"value": float(f"{found.value:.1e}"), "gradient": float(f"{found.gradient:.1e}")}


def learning(name: str) -> list[float] | None:
    """Gains in points, one for each seed."""
    torch.set_num_threads(1)
    test = runpy.run_path(str(LEARNING))
    return [round(test["gain"](name, seed=seed), 1) for seed in SEEDS] if name in test["CONFIGS"] else None


def cost(name: str) -> dict[str, Any]:
    """Operations of a step in units of a supervised step, to three digits.

    The networks are built without values (on torch's meta device) and run as fake tensors, which have a shape and a device only.
    """
    recipe = recipe_of(name)
    arch = recipe.encoder.arch if "arch" in recipe.encoder.model_fields_set else ENCODER
    local, count = recipe.augment.local_views, recipe.trainer.batch_size
    with torch.device("meta"):
        encoder, network = (build_encoder(arch, SIZE, sizes="several") for _ in range(2))  # local views
    teacher = Teacher(network, network.dim)  # whom distill alone looks at: the same network
    with torch.device("meta"):
        method = build_method(encoder, encoder.dim, recipe.method, recipe.optim, teacher)
        classifier = nn.Linear(encoder.dim, CLASSES)
    with FakeTensorMode(allow_non_fake_inputs=True):
        method.to_empty(device="cpu")
        teacher.network.to_empty(device="cpu")
        classifier.to_empty(device="cpu")
        sides = [SIZE, SIZE, *[local.side(SIZE)] * local.count]
        views = tuple(torch.empty(count, 3, side, side) for side in sides)
        with FlopCounterMode(display=False) as supervised:
            F.cross_entropy(classifier(encoder(views[0])), torch.zeros(count, dtype=torch.long)).backward()
        with FlopCounterMode(display=False) as ours:
            method.training_step(Batch(views, torch.arange(count)), 0).backward()
    ratio = ours.get_total_flops() / supervised.get_total_flops()
    return {"encoder": arch, "batch": count, "local_views": local.count, "ratio": float(f"{ratio:.3g}")}


def cost_or_none(name: str) -> dict[str, Any] | None:
    """None where a method cannot be built from its recipe alone, or asks for values; says why."""
    try:
        return cost(name)
    except Exception as error:
        print(f"{name}: no cost: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def main() -> None:
    """Measure the methods that are named, or all of them."""
    measured = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    unknown = set(sys.argv[1:]) - set(METHOD_NAMES)
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: not among the methods {', '.join(METHOD_NAMES)}")
    for name in sys.argv[1:] or METHOD_NAMES:
        measured[name] = {"oracle": oracle(name), "learning": learning(name), "cost": cost_or_none(name)}
        print(name, json.dumps(measured[name]), flush=True)
    kept = {name: measured[name] for name in METHOD_NAMES if name in measured}
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items())
    FILE.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
