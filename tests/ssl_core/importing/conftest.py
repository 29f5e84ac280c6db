"""Checkpoints of the reference implementation, and what is wrong with some."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from support.reference_checkpoints import contents, save


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, torch.nn.Module]]:
    """checkpoint(arch, stem, **hyper) gives (file, the network that learned)."""
    made: dict[str, tuple[Path, torch.nn.Module]] = {}

    def make(*given: str, **hyper: Any) -> tuple[Path, torch.nn.Module]:
        key = repr((given, hyper))
        if key not in made or given:  # tests may change a network that they asked for by name
            content, online = contents(*given, **hyper)
            made[key] = save(content, tmp_path_factory.mktemp("checkpoint") / "epoch=319.ckpt"), online
        return made[key]

    return make


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """saved(change) is a checkpoint whose content was changed by change(content)."""

    def make(change: Callable[[dict[str, Any]], object]) -> Path:
        content, _ = contents()
        change(content)
        return save(content, tmp_path / "bad.ckpt")

    return make


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def canary(tmp_path: Path) -> Callable[[], bool]:
    """canary.of(what) saves something with a canary in it; canary() tells whether it has sung."""

    sung = tmp_path / "sung"

    class Cage:
        def __call__(self) -> bool:
            return sung.exists()

        @staticmethod
        def bird() -> Canary:
            return Canary(sung)

    assert pickle.loads(pickle.dumps(Canary(sung))) is None and sung.exists()  # it does sing
    sung.unlink()
    return Cage()
