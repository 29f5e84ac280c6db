"""The place for drills of the trainer alone: `python -m ssl_core`, without any service, on jobs of a second."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
    seconds: float = 0.0
    """From its start to its end, when nothing disturbs it."""
    runs: int = 0

    def __post_init__(self) -> None:
        self.seams = Seams(self.folder / "site")
        path = f"{self.seams.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.warm = Warm({**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path})
        self.run(self.folder / "first", 1)  # of a process: it compiles and reads what the others find done
        began = time.monotonic()
        self.seams.record(lambda: self.run(self.folder / "undisturbed", 1))
        self.seconds = time.monotonic() - began
        assert any("fsync in ssl_core" in name for name in self.seams.names), self.log(self.folder / "undisturbed", 1)
        self.expected = self.product(self.folder / "undisturbed" / "1")

    def home(self) -> Path:
        """A new one."""
        self.runs += 1
        return self.folder / f"run-{self.runs}"

    def start(self, home: Path, attempt: int) -> int:
        """The id of the process; `end` waits for it."""
        out = home / str(attempt)
        out.mkdir(parents=True)
        words = [str(self.folder / "spec.json"), "--out", str(out), *self.words, "--cache", str(home / "cache")]
        words += [word for number in range(attempt - 1, 0, -1) for word in ("--resume", str(home / str(number)))]
        return self.warm.start(words, out / "log.txt")

    def end(self) -> int:
        """Its exit status."""
        return self.warm.end(PATIENCE)

    def run(self, home: Path, attempt: int) -> int:
        """Its exit status."""
        self.start(home, attempt)
        return self.end()

    def log(self, home: Path, attempt: int) -> str:
        """The last that it said."""
        return (home / str(attempt) / "log.txt").read_text()[-2000:]

    def close(self) -> None:
        self.warm.close()


@contextlib.contextmanager
def pretraining(folder: Path) -> Iterator[Bare]:
    draw_pictures(folder / "data")
    sections = spec(max_epochs=8, checkpoint_every_seconds=0.1)
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
