"""The trainer kills itself before or after each fsync, rename, link and unlink: of checkpoints, prepared images, the export; and
of the vectors of an embed job."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from faults.drill import Drill
from faults.seams import Seams
from faults.warm import Warm
from support.journeys import draw_pictures, spec

PATIENCE = 120


@dataclass
class Bare:
    """`python -m ssl_core` by itself, on one spec."""

    folder: Path
    words: list[str]
    product: Callable[[Path], object]
    """What an attempt's folder holds in the end, to be compared."""
    seams: Seams = field(init=False)
    warm: Warm = field(init=False)
    expected: object = None
    runs: int = 0

    def __post_init__(self) -> None:
        self.seams = Seams(self.folder / "site")
        path = f"{self.seams.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.warm = Warm({**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path})
        self.seams.record(lambda: self.run(self.folder / "undisturbed", 1))
        log = (self.folder / "undisturbed" / "1" / "log.txt").read_text()
        assert any("fsync in ssl_core" in name for name in self.seams.names), log
        self.expected = self.product(self.folder / "undisturbed" / "1")

    def run(self, home: Path, attempt: int) -> int:
        """Its exit status."""
        out = home / str(attempt)
        out.mkdir(parents=True)
        words = [str(self.folder / "spec.json"), "--out", str(out), *self.words, "--cache", str(home / "cache")]
        words += [word for number in range(attempt - 1, 0, -1) for word in ("--resume", str(home / str(number)))]
        return self.warm.run(words, out / "log.txt", PATIENCE)

    def close(self) -> None:
        self.warm.close()


@contextlib.contextmanager
def pretraining(folder: Path) -> Iterator[Bare]:
    draw_pictures(folder / "data")
    sections = spec(max_epochs=8, checkpoint_every_seconds=0.05)
    sections |= {"encoder": {"arch": "timm/test_resnet"}, "evaluate": {"every_epochs": 4}}  # its smallest
    (folder / "spec.json").write_text(json.dumps(sections))
    with contextlib.closing(Bare(folder, ["--data-root", str(folder / "data")], _encoder)) as place:
        yield place


@contextlib.contextmanager
def embedding(folder: Path) -> Iterator[Bare]:
    before = folder / "before"
    before.mkdir()
    with pretraining(before) as trained:
        encoder = trained.folder / "undisturbed" / "1" / "encoder"
        data = {"source": "folder", "path": "pictures", "size": 16}
        sections = {"kind": "embed", "encoder": "enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G", "data": data, "shard_images": 16}
        (folder / "spec.json").write_text(json.dumps(sections))
        words = ["--data-root", str(before / "data"), "--encoder", str(encoder)]
        with contextlib.closing(Bare(folder, words, _vectors)) as place:
            yield place


def _encoder(out: Path) -> object:
    assert (out / "encoder" / "manifest.json").is_file()
    return (out / "encoder" / "model.safetensors").read_bytes()


def _vectors(out: Path) -> object:
    import pyarrow.parquet as pq

    made = json.loads((out / "vectors" / "result.json").read_text())
    parts = sorted((out / "vectors").glob("part-*.parquet"))
    return made["images"], [pq.read_table(part).to_pydict() for part in parts]


def trial(place: Bare, dice: random.Random, number: int) -> None:
    for attempt in range(5):
        if one_death(place, place.seams.names[(number + attempt) % len(place.seams.names)]):
            return
    raise AssertionError("nobody died")


def one_death(place: Bare, name: str) -> bool:
    """Whether the seam was passed: how many checkpoints there are depends on the time."""
    place.runs += 1
    home = place.folder / f"run-{place.runs}"
    place.seams.arm(name)
    try:
        status, last = place.run(home, 1), 1
    finally:
        fired = place.seams.disarm()
    assert fired or status == 0, f"{name}: status {status}\n{(home / '1' / 'log.txt').read_text()[-2000:]}"
    if status != 0:  # 0: who died was a process that works for the trainer, and it got over that
        last = 2
        assert place.run(home, last) == 0, (name, (home / "2" / "log.txt").read_text()[-2000:])
    assert place.product(home / str(last)) == place.expected, f"{name}: not the same"
    return fired


DRILL = Drill(
    "trainer_seams",
    "trainer kills itself before or after each fsync, rename, link, unlink",
    "a second attempt finishes; weights bit-equal to an undisturbed run's",
    pretraining,
    trial,
)
EMBED = Drill(
    "embed_seams",
    "the same of an embed job",
    "a second attempt finishes; vectors equal to an undisturbed run's",
    embedding,
    trial,
)
