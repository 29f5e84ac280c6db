"""Where the files of jobs and encoders lie below the home, and how an encoder is published: whole, once, or not at all.

    home/jobs/<job id>/spec.json
    home/jobs/<job id>/<attempt>/{events.jsonl, log.txt, checkpoints/, encoder/}
    home/encoders/<encoder id>.<attempt>/{model.safetensors, manifest.json}

Each attempt has folders of its own, so a stale writer overwrites nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from jobs.ids import encoder_id

_ID = re.compile(r"[a-z]+_[0-9A-HJKMNP-TV-Z]{26}")
_ENCODER_FOLDER = re.compile(r"^\.?enc_[0-9A-HJKMNP-TV-Z]{26}\.")
_LEFTOVER_SECONDS = 3600


class Artifacts:
    """The files below one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.jobs = home / "jobs"
        self.encoders = home / "encoders"

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

    def latest_attempt(self, job_id: str) -> Path | None:
        """The folder of the newest attempt that has one."""
        folder = self.job_folder(job_id)
        numbers = [int(each.name) for each in folder.iterdir() if each.name.isdigit()] if folder.is_dir() else []
        return folder / str(max(numbers)) if numbers else None

    def write_spec(self, job_id: str, spec: dict[str, Any]) -> Path:
        """The job's spec.json, replaced atomically."""
        path = self.job_folder(job_id) / "spec.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".spec.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(spec, indent=1), encoding="utf-8")
        temporary.replace(path)
        return path

    def publish(self, job_id: str, attempt: int, exported: Path) -> Path:
        """Copy an exported encoder to where it is served from; the folder appears at once and whole, or not at all."""
        target = self.encoders / f"{encoder_id(job_id)}.{attempt}"
        if target.is_dir():  # this attempt published before and died before recording it
            return target
        temporary = self.encoders / f".{target.name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            for file in sorted(exported.iterdir()):
                shutil.copyfile(file, temporary / file.name)
                _sync(temporary / file.name)
            _sync(temporary)
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _sync(self.encoders)
        return target

    def remove_leftovers(self, recorded: set[str], now: float | None = None) -> list[Path]:
        """Remove encoder folders that no row names and that are older than an hour; returns them.

        Compared by name, which ids make unique: a home that was moved, or is mounted elsewhere, must not lose its encoders.
        Only what has the name of a published or half-published encoder is touched.
        """
        if not self.encoders.is_dir():
            return []
        before = (time.time() if now is None else now) - _LEFTOVER_SECONDS
        names = {Path(folder).name for folder in recorded}
        left = [
            each
            for each in self.encoders.iterdir()
            if _ENCODER_FOLDER.match(each.name) and each.name not in names and _modified(each) < before
        ]
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return left

    def clear_checkpoints(self, job_id: str, attempt: int) -> None:
        """Remove the checkpoints of earlier attempts once a job has succeeded; the last attempt keeps last and best."""
        for folder in self.earlier_attempts(job_id, attempt):
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _modified(path: Path) -> float:
    """When a folder last changed; of one that another sweep has just removed: never mind."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
