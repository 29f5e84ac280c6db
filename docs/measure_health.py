"""Records the runs that the drawing of job health shows, in docs/health.json: `python docs/measure_health.py [NAME …]`.

Four real trainings on the handwritten digits, as jobs run them (`ssl_core.train`), one or two minutes each on a CPU. What each
reports and what its evaluations find is kept in the order in which it was said, so that `ssl_core.health.Watch` can judge it
again: docs/generators/health.py does, and marks where the verdict changes.
"""

from __future__ import annotations

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_core.data.sources import describe
from ssl_core.events import Events
from ssl_core.export import ExportError
from ssl_core.presets import complete
from ssl_core.train import train

FILE = Path(__file__).parent / "health.json"
PULSE = ("batch_std", "train_loss", "gradient_norm", "learning_rate", "loss_at_chance")
EVALUATION = ("embedding_std", "effective_rank", "uniformity")  # no kNN: most who pretrain have no labels
_HEAD = {"layers": 2, "hidden_dim": 256, "out_dim": 64}
_BROKEN = {"name": "byol", "branches": {"target": "shared", "projector": _HEAD, "predictor": {"layers": 0}}}
# The verdict that a run stands for: what differs, and for how many epochs.
RUNS: dict[str, dict[str, Any]] = {
    "healthy": {"method": {"name": "simclr"}, "optim": {"name": "sgd", "lr": 0.06}, "epochs": 12},
    # So warm a softmax that it tells nothing apart.
    "plateaued": {"method": {"name": "simclr", "loss": {"temperature": 10}}, "optim": {"name": "sgd", "lr": 0.06}, "epochs": 6},
    # BYOL without what keeps the constant answer away: predictor and moving average. Slowly, and at a usual rate.
    "collapsing": {"method": _BROKEN, "optim": {"name": "sgd", "lr": 0.003}, "epochs": 10},
    "collapsed": {"method": _BROKEN, "optim": {"name": "sgd", "lr": 0.1}, "epochs": 10},
}


def record(run: dict[str, Any]) -> dict[str, Any]:
    """Train, and give what was said, [[step, "pulse" or "evaluation", values], …], and the steps of warm-up."""
    sections = {
        "data": {"source": "digits", "size": 16},
        "method": run["method"],
        "optim": run["optim"],
        "encoder": {"arch": "resnet18", "stem": "imagenet"},
        "evaluate": {"every_epochs": 1, "linear": "off", "max_images": 500},
        "trainer": {"max_epochs": run["epochs"], "batch_size": 128, "log_every_steps": 5, "checkpoint_every_seconds": 3600},
    }
    said: list[list[Any]] = []

    def listen(event: dict[str, Any]) -> None:
        if event["type"] != "metrics":
            return
        values = event["values"]
        for kind, names, mark in (("evaluation", EVALUATION, "effective_rank"), ("pulse", PULSE, "learning_rate")):
            if mark in values:
                found = {name: round(values[name], 5) for name in names if values.get(name) is not None}
                said.append([event["step"], kind, found])

    facts = describe(complete(sections).spec.data, Path("."))
    spec = complete(sections, None, facts, gpu=False).spec
    with tempfile.TemporaryDirectory(prefix="imprint-health-") as folder, suppress(ExportError):
        train(spec, Path(folder), data_root=Path("."), events=Events(None, listen))
    steps = max(each[0] for each in said)
    warmup = round(spec.optim.warmup_epochs * steps / run["epochs"], 3)
    return {"warmup_steps": warmup, "said": said}


def main(names: list[str]) -> None:
    found = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    for name in names or RUNS:
        found[name] = record(RUNS[name])
        print(name, found[name]["said"][-1])
    lines = [f' "{name}": {json.dumps(found[name])}' for name in RUNS if name in found]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
