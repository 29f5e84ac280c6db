"""Where a step's time goes, from real training: what every job tells of itself, as milliseconds and bars.

    python benchmarks/profile_step.py [SPEC.json] [--preset moco_v2] [--size 32] [--batch 256] [--arch resnet18] [--stem auto]
                                      [--data DIR] [--steps 20] [--trace FILE] [--seed 0]

Runs `python -m ssl_core` and reads the shares that its `metrics` events tell, so that this script and a job cannot disagree. The
first step is not counted, on a GPU not the first 30, nor compiling. SPEC.json is a job's spec, whole or in part, whose data are
looked for below the current folder. DIR takes their place; where none are named, they are cut from scikit-learn's photographs.

--trace also runs a few steps of the same method in this process, from uint8 images on, under torch.profiler. FILE can be opened
in https://ui.perfetto.dev or chrome://tracing; the operations that take longest are printed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from bare import bare_step, draw, some_images
from images import image_folder
from machine import describe
from measure import Failed, say, table, warm_up_steps
from torch.profiler import ProfilerActivity, profile, record_function
from training_run import Event, Run, complete_spec

from ssl_core.clock import STAGES
from ssl_core.data.machine import keep_freed_memory
from ssl_core.spec import TrainSpec

NAMES = {
    "data_wait": "waiting for data",
    "augment": "drawing views",
    "forward_backward": "forward and backward",
    "optimizer": "optimiser",
    "ema": "moving average",
    "other": "other",
}
BAR = 40  # characters for the whole step
TRACED = 3  # steps


def sections_and_root(arguments: argparse.Namespace, stack: ExitStack) -> tuple[dict[str, Any], Path]:
    """What to complete into a spec, and the data root."""
    sections: dict[str, Any] = {
        "encoder": {"arch": arguments.arch, "stem": arguments.stem},
        "trainer": {"batch_size": arguments.batch, "seed": arguments.seed},
        "data": {"size": arguments.size},
    }
    if arguments.spec is not None:
        sections = json.loads(arguments.spec.read_text(encoding="utf-8"))
    if arguments.data is None and "source" in sections.get("data", {}):
        return sections, Path()
    images = max(2 * sections.get("trainer", {}).get("batch_size", arguments.batch), 256)
    size = sections.get("data", {}).get("size") or arguments.size
    folder = stack.enter_context(image_folder(arguments.data, images, size, arguments.seed)).resolve()
    return {**sections, "data": {"source": "folder", "path": folder.name, "size": size}}, folder.parent


def breakdown(spec: TrainSpec, data_root: Path, steps: int) -> tuple[int, dict[str, float]]:
    """The steps that were counted, and what the `metrics` event after them tells of them. Raises Failed.

    A run tells after its first step, then every `steps` of them, each time what was since the last time.
    """
    steps = max(steps, 2)
    counted = steps * (1 + -(-warm_up_steps() // steps)) if torch.cuda.is_available() else steps
    spec = spec.changed(trainer={**spec.trainer.model_dump(), "log_every_steps": steps})
    with tempfile.TemporaryDirectory(prefix="imprint-bench-") as out, Run(spec, Path(out) / "run", data_root) as run:

        def found() -> Event | None:
            return next((event for event in run.events("metrics") if event["step"] == counted and _tells(event)), None)

        run.follow(lambda: found() is not None)
        event = found()
        if event is None:
            raise Failed(f"the run ended before step {counted}: fewer --steps, or more epochs")
    return steps if counted > steps else steps - 1, event["values"]


def _tells(event: Event) -> bool:
    return "images_per_second" in event["values"]


def rows(values: dict[str, float], batch: int) -> list[list[str]]:
    """A line for each stage and one for the whole step: milliseconds, share, bar."""
    step = 1000 * batch / values["images_per_second"]
    lines = []
    for name in (*STAGES, "other"):
        share = values[f"{name}_share"]
        lines.append([NAMES[name], f"{share * step:,.1f}", f"{share:.1%}", "█" * round(share * BAR)])
    return [*lines, ["a step", f"{step:,.1f}", "", f"{values['images_per_second']:,.1f} images/s"]]


def trace(spec: TrainSpec, file: Path) -> str:
    """Write the trace of TRACED steps on random images to `file`; returns the profiler's table of what takes longest."""
    if not torch.cuda.is_available():
        keep_freed_memory()  # as training does
    _, step = bare_step(spec, total_steps=TRACED)
    images = some_images(spec)

    def whole_step() -> None:
        with record_function("drawing views"):
            batch = draw(spec, images)
        with record_function("the method's step"):
            step(batch)

    whole_step()  # the first is slower
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities) as profiler:
        for _ in range(TRACED):
            whole_step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    profiler.export_chrome_trace(str(file))
    order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=order, row_limit=15, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path, nargs="?", help="JSON; the options below it are then taken from there")
    parser.add_argument("--preset", default="moco_v2", help="what SPEC.json leaves open is from this recipe, too")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--stem", choices=["auto", "imagenet", "cifar"], default="auto")
    parser.add_argument("--data", type=Path, help="folder with JPEGs")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--trace", type=Path, metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        sections, data_root = sections_and_root(arguments, stack)
        spec = complete_spec(sections, arguments.preset, data_root)
        encoder, trainer = spec.encoder, spec.trainer
        say(f"training for {arguments.steps} steps of {trainer.batch_size} images")
        try:
            steps, values = breakdown(spec, data_root, arguments.steps)
        except Failed as error:
            raise SystemExit(str(error)) from error
    print(describe(trainer.seed))
    print(
        f"{spec.method.name}, {encoder.arch}, stem {encoder.stem}, {spec.data.size} px, batch {trainer.batch_size}, "
        f"precision {trainer.precision}, mean of {steps} steps\n"
    )
    print(table(["", "ms", "share", ""], rows(values, trainer.batch_size)))
    if arguments.trace is not None:
        print(f"\n{trace(spec, arguments.trace)}\nwritten to {arguments.trace}")


if __name__ == "__main__":
    main()
