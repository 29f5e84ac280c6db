"""The folder that makes processes tell their seams and die at one: see site/sitecustomize.py."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from faults.bench import SITE


class Seams:
    """One copy of sitecustomize.py with its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(SITE, folder, ignore=shutil.ignore_patterns("__pycache__"))
        self.names: list[str] = []
        """Every seam that the recorded run has passed, each once, in an order that is mixed and always the same."""

    def record(self, run: Callable[[], object]) -> None:
        self.arm("nothing")
        (self.folder / "seen").unlink(missing_ok=True)
        run()
        self.disarm()
        self.names = sorted({*(self.folder / "seen").read_text().splitlines()})
        random.Random(0).shuffle(self.names)  # so that a few trials are a fair choice; as many as there are seams take each

    def arm(self, name: str) -> None:
        (self.folder / "fired").unlink(missing_ok=True)
        (self.folder / "armed").write_text(name)

    def disarm(self) -> bool:
        """Whether anybody died of it."""
        (self.folder / "armed").unlink(missing_ok=True)
        return (self.folder / "fired").exists()
