"""Where the files of jobs lie below the home, and how what they make is published: whole, once, or not at all.

    home/jobs/<job id>/spec.json
    home/jobs/<job id>/<attempt>/{events.jsonl, log.txt, checkpoints/, encoder/}
    home/jobs/<job id>/<attempt>/vectors/{files, plan.json, part-00000.parquet, …, result.json}     of kind embed
    home/encoders/<encoder id>.<attempt>/{model.safetensors, manifest.json}
    home/vectors/<job id>.<attempt>/{part-00000.parquet, …, result.json}
    home/imports/<upload>                                   files of weights that were sent, until their jobs have taken them
    home/exports/<encoder id>/                              encoders in other forms, made when asked for; may be deleted
    home/results/<job id>.<attempt>/result.json             of kinds linear_probe and finetune
    home/maps/<job id>.<attempt>/{map.arrow, result.json}

Each attempt has folders of its own, so a stale writer overwrites nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jobs.durable import sync
from jobs.ids import encoder_id

_ID = re.compile(r"[a-z]+_[0-9A-HJKMNP-TV-Z]{26}")
_PUBLISHED = re.compile(r"^\.?(enc|job)_[0-9A-HJKMNP-TV-Z]{26}\.")
_LEFTOVER_SECONDS = 3600


class Artifacts:
    """The files below one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.jobs = home / "jobs"
        self.encoders = home / "encoders"
        self.vectors = home / "vectors"
        self.results = home / "results"
        self.maps = home / "maps"

    def job_folder(self, job_id: str) -> Path:
        """All of a job's files. Raises ValueError for what is not an id."""
        if not _ID.fullmatch(job_id):
            raise ValueError(f"{job_id!r} is not an id")
        return self.jobs / job_id

    def attempt_folder(self, job_id: str, attempt: int) -> Path:
        """One attempt's files."""
        return self.job_folder(job_id) / str(attempt)

    def earlier_attempts(self, job_id: str, attempt: int) -> list[Path]:
        """Folders of the attempts before this one that exist, newest first."""
        folders = (self.attempt_folder(job_id, number) for number in range(attempt - 1, 0, -1))
        return [folder for folder in folders if folder.is_dir()]

    def write_spec(self, job_id: str, spec: dict[str, Any]) -> Path:
        """The job's spec.json, replaced atomically."""
        path = self.job_folder(job_id) / "spec.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".spec.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(spec, indent=1), encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

    def publish(self, job_id: str, attempt: int, exported: Path) -> Path:
        """Copy an exported encoder to where it is served from; the folder appears at once and whole, or not at all."""
        return _publish(sorted(exported.iterdir()), self.encoders / f"{encoder_id(job_id)}.{attempt}", shutil.copyfile)

    def publish_vectors(self, job_id: str, attempt: int, made: Path) -> Path:
        """The same for a job's vectors. Whole shards are never written again, so they are linked and not copied."""
        files = [*sorted(made.glob("part-*.parquet")), made / "result.json"]
        return _publish(files, self.vectors / f"{job_id}.{attempt}", _link)

    def publish_result(self, job_id: str, attempt: int, made: Path) -> Path:
        """The same for what a measurement found: result.json."""
        return _publish([made / "result.json"], self.results / f"{job_id}.{attempt}", shutil.copyfile)

    def publish_map(self, job_id: str, attempt: int, made: Path) -> Path:
        """The same for a map: map.arrow and result.json."""
        return _publish([made / "map.arrow", made / "result.json"], self.maps / f"{job_id}.{attempt}", _link)

    def remove_leftovers(self, recorded: set[str], now: float | None = None) -> list[Path]:
        """Remove published folders that no row names and that are older than an hour; returns them.

        Compared by name, which ids make unique: a home that was moved, or is mounted elsewhere, must not lose its encoders.
        Only what has the name of something published or half-published is touched.
        """
        before = (time.time() if now is None else now) - _LEFTOVER_SECONDS
        names = {Path(folder).name for folder in recorded}
        left = [
            each
            for place in (self.encoders, self.vectors, self.results, self.maps)
            if place.is_dir()
            for each in place.iterdir()
            if _PUBLISHED.match(each.name) and each.name not in names and _modified(each) < before
        ]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return left

    def clear_checkpoints(self, job_id: str, attempt: int) -> None:
        """Remove the checkpoints of earlier attempts once a job has succeeded; the last attempt keeps last and best."""
        for folder in self.earlier_attempts(job_id, attempt):
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)

    def clear(self, job_id: str, attempt: int, *names: str) -> None:
        """Remove what all attempts made under these names, once the job's result is published."""
        for folder in (self.attempt_folder(job_id, attempt), *self.earlier_attempts(job_id, attempt)):
            for name in names:
                shutil.rmtree(folder / name, ignore_errors=True)


def _publish(files: Iterable[Path], target: Path, put: Callable[[Path, Path], object]) -> Path:
    """`put` the files into a temporary folder beside `target`, make them durable, and rename it."""
    if target.is_dir():  # this attempt published before and died before recording it
        sync(target.parent)
        return target
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        for file in files:
            put(file, temporary / file.name)
            sync(temporary / file.name)
        sync(temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync(target.parent)
    sync(target.parent.parent)  # where the parent itself may be new
    return target


def _link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the disk knows no hard links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def _modified(path: Path) -> float:
    """When a folder last changed; of one that another sweep has just removed: never mind."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
