"""The trainer kills itself before or after each fsync, rename, link and unlink: of checkpoints, prepared images, the export."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faults.bench import SITE
from faults.drill import Drill
from faults.seams import Seams
from support.journeys import draw_pictures, spec

PATIENCE = 120


@dataclass
class Bare:
    """`python -m ssl_core` by itself."""

    folder: Path
    seams: Seams
    weights: bytes
    runs: int = 0

    def run(self, cache: Path, out: Path, *resume: Path) -> int:
        command = [sys.executable, "-P", "-m", "ssl_core", str(self.folder / "spec.json"), "--out", str(out)]
        command += ["--data-root", str(self.folder / "data"), "--cache", str(cache)]
        command += [word for each in resume for word in ("--resume", str(each))]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        env["PYTHONPATH"] = f"{self.seams.folder}{os.pathsep}{env.get('PYTHONPATH', '')}"
        out.mkdir(parents=True)
        with (out / "log.txt").open("wb") as log:
            return subprocess.run(command, env=env, stdout=log, stderr=log, timeout=PATIENCE, start_new_session=True).returncode


@contextlib.contextmanager
def bare(folder: Path) -> Iterator[Bare]:
    assert SITE.is_dir()
    draw_pictures(folder / "data")
    sections = spec(max_epochs=8, checkpoint_every_seconds=0.05)
    sections["evaluate"] = {"every_epochs": 4}
    (folder / "spec.json").write_text(json.dumps(sections))
    place = Bare(folder, Seams(folder / "site"), b"")
    out = folder / "undisturbed"
    place.seams.record(lambda: place.run(folder / "cache", out))
    assert any("fsync in ssl_core.durable" in name for name in place.seams.names), (out / "log.txt").read_text()
    place.weights = (out / "encoder" / "model.safetensors").read_bytes()
    yield place


def trial(place: Bare, dice: random.Random, number: int) -> None:
    order = sorted(place.seams.names)
    random.Random(0).shuffle(order)
    name = order[number % len(order)]
    place.runs += 1
    home = place.folder / f"run-{place.runs}"
    place.seams.arm(name)
    status = place.run(home / "cache", home / "1")
    log = (home / "1" / "log.txt").read_text()[-2000:]
    assert place.seams.disarm(), f"nobody passed {name}: status {status}\n{log}"
    # Whoever died was the trainer, or one of the processes that decode for it, which it survives or says so.
    if status != 0:
        assert place.run(home / "cache", home / "2", home / "1") == 0, (name, (home / "2" / "log.txt").read_text()[-2000:])
    out = home / ("1" if status == 0 else "2")
    assert (out / "encoder" / "model.safetensors").read_bytes() == place.weights, f"{name}: other weights"
    assert (out / "encoder" / "manifest.json").is_file()


DRILL = Drill(
    "trainer_seams",
    "trainer kills itself before or after each fsync, rename, link, unlink",
    "a second attempt finishes; weights bit-equal to an undisturbed run's",
    bare,
    trial,
    quick=1,
)
