"""A real training run, `python -m ssl_core`, followed through its events.jsonl as the service's supervisor follows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from measure import FEWEST_STEPS, Failed, child_environment, warm_up_steps

from ssl_core.data.sources import describe
from ssl_core.presets import complete
from ssl_core.spec import TrainSpec

Event = dict[str, Any]

FINISHED, STOPPED = 0, 3
_POLL_SECONDS = 0.1
_STOP_SECONDS = 120  # a stop is between two steps, and a step may be long
NEVER = 100_000  # epochs


def complete_spec(sections: dict[str, Any], preset: str | None, data_root: Path) -> TrainSpec:
    """The preset with what `sections` say, completed for their images: as a job's spec is, but made to be measured.

    Unless `sections` say otherwise the run has no end, and hardly evaluates or saves, which is not what is measured.
    """
    defaults: dict[str, dict[str, Any]] = {
        "evaluate": {"every_epochs": NEVER, "max_images": 20, "linear": "off"},
        "trainer": {"max_epochs": NEVER, "checkpoint_every_seconds": 3600},
    }
    given = {**sections, **{name: {**values, **sections.get(name, {})} for name, values in defaults.items()}}
    first = complete(given, preset).spec
    return complete(given, preset, describe(first.data, data_root)).spec


class Run:
    """`with Run(spec, out, data_root) as run`: the run begins. When the block is left, it is killed if it still runs.

    `cache` holds prepared images, as the service's does; without it they are decoded into memory. `teacher`: folder of the
    encoder that method distill learns from.
    """

    def __init__(
        self, spec: TrainSpec, out: Path, data_root: Path, cache: Path | None = None, teacher: Path | None = None
    ) -> None:
        self.spec, self.out, self.data_root, self.cache, self.teacher = spec, out, data_root, cache, teacher
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Run:
        self.out.mkdir(parents=True)
        path = self.out / "spec.json"
        path.write_text(self.spec.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "ssl_core", str(path), "--out", str(self.out), "--data-root", str(self.data_root)]
        command += ["--parent-pipe", *(["--cache", str(self.cache)] if self.cache else [])]
        command += ["--teacher", str(self.teacher)] if self.teacher else []
        with (self.out / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=child_environment(), start_new_session=True
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # its group: decoding processes may be in it
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def events(self, kind: str | None = None) -> list[Event]:
        """All events so far, or those of one type; the last line may still be being written, and waits."""
        try:
            lines = (self.out / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if kind in (None, event["type"])]

    def follow(self, enough: Callable[[], bool]) -> bool:
        """Wait until `enough()`, asked ten times a second: True; or until the run has finished without: False. Raises Failed."""
        assert self._process is not None
        while not enough():
            status = self._process.poll()
            if status == FINISHED:
                return enough()
            if status is not None:
                raise Failed(self._why(status))
            time.sleep(_POLL_SECONDS)
        return True

    def stop(self) -> None:
        """Ask it to stop after a checkpoint, as a supervisor does, and wait for that. Raises Failed."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
        status = self._process.wait(_STOP_SECONDS)
        if status not in (FINISHED, STOPPED):
            raise Failed(self._why(status))

    def speed(self, seconds: float, steps: int | None = None) -> float:
        """Images/s between two `progress` events: the first after the warm-up, and the first that is `seconds` (or `steps` steps)
        later, with at least FEWEST_STEPS between them. The run goes on. Raises Failed."""
        if not self.follow(lambda: self._between(seconds, steps) is not None):
            raise Failed("the run finished before enough of it could be measured: more epochs, or fewer seconds")
        between = self._between(seconds, steps)
        assert between is not None
        first, last = between
        steps: int = last["step"] - first["step"]
        return steps * self.spec.trainer.batch_size / (at(last) - at(first))

    def _between(self, seconds: float, steps: int | None) -> tuple[Event, Event] | None:
        warm = [event for event in self.events("progress") if event["step"] >= warm_up_steps()]
        for event in warm[1:]:
            done, took = event["step"] - warm[0]["step"], at(event) - at(warm[0])
            if done >= (steps or FEWEST_STEPS) and (steps or took >= seconds):
                return warm[0], event
        return None

    def prepared_in(self) -> float:
        """Seconds from the beginning of the phase `preparing` to the event `data`."""
        return at(self.events("data")[0]) - at(self.events("phase")[0])

    def _why(self, status: int) -> str:
        errors = self.events("error")
        if errors:
            return f"{errors[-1]['code']}: {errors[-1]['message']}"
        said = (self.out / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"python -m ssl_core ended with {status}: {said[-1] if said else 'it said nothing'}"


def at(event: Event) -> float:
    """When it was, in seconds since 1970."""
    return datetime.fromisoformat(event["at"]).timestamp()
