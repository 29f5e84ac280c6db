"""A checkpoint is whole or not there."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from ssl_core import checkpoints
from ssl_core.durable import write_atomically


def save(folder: Path, step: int) -> Path:
    path = checkpoints.step_path(folder, step)
    checkpoints.AtomicCheckpointIO().save_checkpoint({"step": step, "weights": torch.full((1000,), float(step))}, path)
    return path


def test_round_trip_and_newest(tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "checkpoints", tmp_path / "2" / "checkpoints"
    save(first, 9)
    save(second, 10)
    found = checkpoints.newest([second, first, tmp_path / "missing"])
    assert found is not None and (found.step, found.path.parent) == (10, second)
    assert checkpoints.AtomicCheckpointIO().load_checkpoint(found.path)["weights"][0] == 10.0


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "no checksum"])
def test_a_damaged_file_is_passed_over_for_the_older_one(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.with_name(path.name + ".sha256").unlink()
    found = checkpoints.newest([tmp_path])
    assert found is not None and found.step == 1


@pytest.mark.parametrize(
    "write", [lambda file: torch.save({"a": torch.zeros(10**6)}, file), lambda file: np.save(file, np.zeros(10**6))]
)
def test_what_the_system_refuses_is_told_in_its_words(tmp_path: Path, write: Callable[[BinaryIO], object]) -> None:
    """torch says "unexpected pos", numpy how many it wrote: neither would be known as a full disk. Here files may have 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError) as refused:
            write_atomically(tmp_path / "x", write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refused.value.errno == errno.EFBIG and list(tmp_path.iterdir()) == []


def test_two_are_kept_and_the_best_outlives_them(tmp_path: Path) -> None:
    checkpoints.mark_best(save(tmp_path, 1))
    for step in range(2, 6):
        save(tmp_path, step)
        checkpoints.prune(tmp_path)
    assert sorted(each.name for each in tmp_path.glob("*.ckpt")) == ["best.ckpt", "step-00000004.ckpt", "step-00000005.ckpt"]
    assert checkpoints.verifies(tmp_path / "best.ckpt")
    assert checkpoints.AtomicCheckpointIO().load_checkpoint(tmp_path / "best.ckpt")["step"] == 1


def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path) -> None:
    path = tmp_path / "evil.ckpt"
    torch.save({"x": _Canary(tmp_path / "fired")}, path)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        checkpoints.AtomicCheckpointIO().load_checkpoint(path)
    assert not (tmp_path / "fired").exists()


class _Canary:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.file),)


_WRITER = """
import sys, itertools, torch
from pathlib import Path
from ssl_core import checkpoints
folder = Path(sys.argv[1])
print("writing", flush=True)
for step in itertools.count(1):
    state = {"weights": torch.full((300_000,), float(step))}
    checkpoints.AtomicCheckpointIO().save_checkpoint(state, checkpoints.step_path(folder, step))
    checkpoints.prune(folder)
"""


def test_killed_at_any_instant_the_newest_still_loads(tmp_path: Path) -> None:
    for trial in range(3):
        folder = tmp_path / str(trial)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
        while not list(folder.glob("*.sha256")):
            time.sleep(0.005)
        time.sleep(0.013 * trial)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        found = checkpoints.newest([folder])
        assert found is not None
        assert checkpoints.AtomicCheckpointIO().load_checkpoint(found.path)["weights"][0] == found.step
