"""Which pictures go into which shard: decided once by the first attempt, and kept by all that follow it.

    vectors/files          the paths of all pictures, each ended by a zero byte
    vectors/plan.json      how many, and where each shard begins in `files`
    vectors/part-00000.parquet, …

A folder that changes while it is embedded would shift every later row; with the list on the disk an attempt that resumes
means the same pictures, and no attempt holds more of the list in memory than one shard's. Knows no torch.
"""

from __future__ import annotations

import json
import os
import shutil
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl_core.bulk.shards import is_whole
from ssl_core.data.scan import Scan
from ssl_core.durable import sync_folder, write_atomically

FILES, PLAN = "files", "plan.json"


@dataclass(frozen=True)
class Plan:
    """`begins` (shards + 1) are offsets in bytes into the list of files."""

    images: int
    shard_images: int
    fingerprint: str
    begins: list[int]

    @property
    def shards(self) -> int:
        return len(self.begins) - 1

    def rows(self, shard: int) -> int:
        """How many images a shard has."""
        return min(self.shard_images, self.images - shard * self.shard_images)

    def paths(self, folder: Path, shard: int) -> list[str]:
        """Those of one shard, relative to the data's folder."""
        with (folder / FILES).open("rb") as file:
            file.seek(self.begins[shard])
            content = file.read(self.begins[shard + 1] - self.begins[shard])
        return [os.fsdecode(path) for path in content.split(b"\0")[:-1]]


def part_name(shard: int) -> str:
    """part-00000.parquet, …"""
    return f"part-{shard:05}.parquet"


def make_plan(found: Scan, fingerprint: str, shard_images: int, folder: Path) -> Plan:
    """Write the list of files and the plan into `folder`."""
    begins, position = array("Q"), 0
    for number, path in enumerate(found.paths.encoded()):
        if number % shard_images == 0:
            begins.append(position)
        position += len(path) + 1
    plan = Plan(len(found.paths), shard_images, fingerprint, [*begins, position])
    write_atomically(folder / FILES, lambda file: file.writelines(path + b"\0" for path in found.paths.encoded()))
    write_atomically(folder / PLAN, lambda file: file.write(json.dumps(asdict(plan)).encode()))  # last: with it all is there
    return plan


def earlier_plan(folder: Path, earlier: Sequence[Path]) -> Plan | None:
    """The plan that an attempt before this one made, now in `folder` as well. earlier: their folders, newest first."""
    source = next((each for each in (folder, *earlier) if (each / PLAN).is_file()), None)
    if source is None:
        return None
    for name in (FILES, PLAN):
        _take(source / name, folder / name)
    return Plan(**json.loads((folder / PLAN).read_bytes()))


def take_over(plan: Plan, schema: Any, folder: Path, earlier: Sequence[Path]) -> int:
    """How many whole shards, from the first on, there are now in `folder`.

    Files are linked, not moved: an attempt that still runs where it should not keeps its own names and can harm nothing.
    """
    for shard in range(plan.shards):
        places = (each / part_name(shard) for each in (folder, *earlier))
        whole = next((place for place in places if is_whole(place, schema, plan.rows(shard))), None)
        if whole is None:
            return shard
        _take(whole, folder / part_name(shard))
        sync_folder(folder)
    return plan.shards


def _take(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no hard links."""
    if target.exists() and target.samefile(source):
        return
    target.unlink(missing_ok=True)  # not whole
    try:
        os.link(source, target)
    except OSError:
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
