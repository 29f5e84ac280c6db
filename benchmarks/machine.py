"""What a figure depends on besides the code: one line on the machine, the versions and the seed, and one core to measure on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "pytorch-lightning")


def describe(seed: int | Sequence[int], packages: Sequence[str] = ()) -> str:
    """Processor, processors and threads in use, GPU if there is one, Python's and the packages' versions, and the seed or seeds.

    `packages` are named besides torch, torchvision and Lightning; those that are not installed are left out.
    """
    parts = [_processor(), f"{os.cpu_count()} CPUs, {torch.get_num_threads()} in use by torch"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    parts.append(f"Python {platform.python_version()}")
    for package in (*PACKAGES, *packages):
        try:
            parts.append(f"{package} {metadata.version(package).split('+')[0]}")
        except metadata.PackageNotFoundError:
            continue
    seeds = f"seed {seed}" if isinstance(seed, int) else f"seeds {' '.join(map(str, seed))}"
    return ", ".join([*parts, seeds])


def use_one_core() -> None:
    """One thread of one process on one processor, where the system can pin it (Linux); nothing moves it or shares its work."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _processor() -> str:
    """The name that Linux knows; elsewhere Python's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
