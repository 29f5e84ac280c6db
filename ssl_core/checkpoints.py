"""Checkpoints that are whole or not there: temporary file beside the target, fsync, rename, then a checksum beside it.

Lightning's own writer makes its temporary file in the system's temporary folder, which a kill can leave half moved
(docs/decisions/0004-checkpoints.md). A file without its checksum was not finished and is never loaded.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO

from ssl_core.durable import write_atomically

KEEP = 2
BEST = "best.ckpt"


@dataclass(frozen=True)
class Found:
    """A checkpoint whose checksum holds."""

    path: Path
    step: int


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's seam for reading and writing checkpoints, made durable."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file, then its checksum: the order makes an unfinished file recognisable."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: torch.save(checkpoint, file))
        line = f"{sha256_of(path)}  {path.name}\n".encode()
        write_atomically(_checksum_file(path), lambda file: file.write(line))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read tensors and plain values only; nothing in a checkpoint is executed."""
        loaded: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Remove the checksum first, so that no moment shows a checksum without its file as whole."""
        _checksum_file(Path(path)).unlink(missing_ok=True)
        Path(path).unlink(missing_ok=True)


def verifies(path: Path) -> bool:
    """Whether the file is the one its checksum was taken of."""
    try:
        return _checksum_file(path).read_text().split()[0] == sha256_of(path)
    except (OSError, IndexError, UnicodeDecodeError):
        return False


def step_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` optimiser steps lies."""
    return folder / f"step-{step:08d}.ckpt"


def newest(folders: Iterable[Path]) -> Found | None:
    """The checkpoint with the most steps that verifies, over several folders; damaged ones are passed over."""
    candidates = [path for folder in folders for path in folder.glob("step-*.ckpt") if path.stem[5:].isdigit()]
    for path in sorted(candidates, key=lambda each: int(each.stem[5:]), reverse=True):
        if verifies(path):
            return Found(path, int(path.stem[5:]))
    return None


def prune(folder: Path, keep: int = KEEP) -> None:
    """Remove all but the newest `keep` checkpoints of a folder."""
    paths = sorted(folder.glob("step-*.ckpt"))
    for path in paths[:-keep]:
        AtomicCheckpointIO().remove_checkpoint(path)


def carry_best(old: Path, new: Path) -> None:
    """Let the best checkpoint of an attempt be the next one's too, until it finds a better one."""
    if old == new or (new / BEST).exists() or not verifies(old / BEST):
        return
    new.mkdir(parents=True, exist_ok=True)
    with (old / BEST).open("rb") as source:
        write_atomically(new / BEST, lambda file: shutil.copyfileobj(source, file))
    write_atomically(_checksum_file(new / BEST), lambda file: file.write(_checksum_file(old / BEST).read_bytes()))


def mark_best(path: Path) -> None:
    """Let best.ckpt be this checkpoint too, as a hard link (a copy of the bytes would double the writing)."""
    best = path.with_name(BEST)
    temporary = best.with_name(f".{best.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(path, temporary)
    temporary.replace(best)
    line = f"{sha256_of(best)}  {best.name}\n".encode()
    write_atomically(_checksum_file(best), lambda file: file.write(line))
