"""Indexes are built one after the other, each in a process of its own at low priority; this thread only supervises.

The state is in build.json below the home: `building`, `ready` or `failed`. A build that a restart interrupts begins again, at
most ATTEMPTS times. The lock of the folder sees to it that of several API processes one builds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from jobs.indexes import IndexPlace, unfinished, vectors_of

log = logging.getLogger("api")
ATTEMPTS = 3
HOPELESS = 4  # exit status of ssl_core.search: it would fail again in the same way
LOOK_SECONDS = 0.1
COMMAND = (sys.executable, "-P", "-m", "ssl_core.search")
_ALLOWED = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "OMP_NUM_THREADS")  # no credentials


class BuildRunning(Exception):
    """The index of this encoder is being built already."""


class Indexing:
    """The builds of this process."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._stop = threading.Event()
        self._unwanted: set[str] = set()

    def start(self, encoder_id: str, job_id: str, data: dict[str, Any], attempt: int = 1) -> dict[str, Any]:
        """Build the index of an encoder from a job's vectors, soon; gives what build.json says. Raises BuildRunning."""
        place = IndexPlace(self._home, encoder_id)
        held = place.lock()
        if held is None:
            raise BuildRunning
        about = {"status": "building", "vectors": job_id, "data": data, "attempt": attempt, "created_at": _now()}
        try:
            place.clear_build()
            place.write_build(about)
            self._unwanted.discard(encoder_id)
            self._thread.submit(self._run, encoder_id, place, held, about)
        except BaseException:
            held.close()
            raise
        return about

    def recover(self) -> None:
        """Begin again what the end of its process has interrupted. A build that another process holds is left to it."""
        for encoder_id in unfinished(self._home):
            place = IndexPlace(self._home, encoder_id)
            about = place.build() or {}
            attempt = int(about.get("attempt", 1)) + 1
            with contextlib.suppress(BuildRunning):
                if attempt <= ATTEMPTS:
                    self.start(encoder_id, str(about.get("vectors")), about.get("data") or {}, attempt)
                elif (held := place.lock()) is not None:
                    error = f"it was interrupted {ATTEMPTS} times, each time by the end of the API's process"
                    place.write_build({**about, "status": "failed", "error": error, "finished_at": _now()})
                    held.close()

    def remove(self, encoder_id: str) -> bool:
        """Remove the index and end its build; whether there was any. Raises BuildRunning if another process builds it."""
        place = IndexPlace(self._home, encoder_id)
        if not place.folder.is_dir():
            return False
        held = place.lock()
        if held is None and (place.build() or {}).get("status") == "building":
            self._unwanted.add(encoder_id)  # its thread looks at this every LOOK_SECONDS, and removes the folder itself
            return True
        removed = place.remove()
        if held is not None:
            held.close()
        return removed

    def close(self) -> None:
        """End the build; the next process begins it again."""
        self._stop.set()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, encoder_id: str, place: IndexPlace, held: BinaryIO, about: dict[str, Any]) -> None:
        with held:
            try:
                error = self._build(encoder_id, place, about)
            except Exception as failure:
                log.exception("the index of %s could not be built", encoder_id)
                error = f"{type(failure).__name__}: {failure}"
            if encoder_id in self._unwanted:
                self._unwanted.discard(encoder_id)
                place.remove()
            elif not self._stop.is_set():
                end = {"status": "ready"} if error is None else {"status": "failed", "error": error}
                place.write_build({**about, **end, "finished_at": _now()})
                log.info("index of %s: %s", encoder_id, error or "ready")

    def _build(self, encoder_id: str, place: IndexPlace, about: dict[str, Any]) -> str | None:
        """Why there is no new index, or None."""
        vectors = vectors_of(self._home, about["vectors"])
        if vectors is None:
            return f"the vectors of {about['vectors']} are gone from the service's folder"
        made, printed = place.building / "index", place.building / "log.txt"
        command = [*COMMAND, str(vectors), "--out", str(made), "--job", about["vectors"], "--data", json.dumps(about["data"])]
        command += ["--progress", str(place.building / "progress.json"), "--parent-pipe"]
        env = {name: value for name, value in os.environ.items() if name in _ALLOWED}
        with printed.open("wb") as out:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )
        with child:  # leaving closes its stdin, by which it would end if it still ran
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, child.pid, 10)  # searches and /embed come first
            while not self._ended(child):
                if self._stop.is_set() or encoder_id in self._unwanted:
                    child.kill()
                    child.wait()
                    return "it was stopped"
        if child.returncode == 0:
            place.publish(made)
            return None
        last = (printed.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1][:500]
        return last if child.returncode == HOPELESS else f"its process ended with status {child.returncode}: {last}"

    def _ended(self, child: subprocess.Popen[bytes]) -> bool:
        try:
            child.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
