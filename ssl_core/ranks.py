"""Which of how many processes this is, as the environment says: torchrun's, or that of the processes that a run starts itself.

Knows no torch: it is asked before anything else is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Ranks:
    """`local_size` processes on each of `nodes` machines, that somebody else has started."""

    local_size: int
    nodes: int

    @property
    def world_size(self) -> int:
        return self.local_size * self.nodes


def rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among all: 0 is the one that speaks, and writes."""
    return int(environment.get("RANK", environment.get("LOCAL_RANK", "0")))


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process on its machine, and of its GPU."""
    return int(environment.get("LOCAL_RANK", "0"))


def launched(environment: Mapping[str, str] = os.environ) -> Ranks | None:
    """What torchrun has started, or None where a run starts its own processes. Raises ValueError for machines of unequal size."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    local, world = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"])
    if world % local:
        raise ValueError(f"torchrun has started {world} processes, {local} of them here: give it as many on every machine")
    return Ranks(local, world // local)
