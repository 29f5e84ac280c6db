"""What the benchmarks of training share: clocks, measurements in processes of their own, tables, and how long it still takes.

A script whose figures are taken in a child process ends with `answer(function)`; another calls `in_child(script, task)`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
FEWEST_STEPS = 2
WARM_UP = 30  # steps on a GPU: its libraries try out kernels, and after 20 steps it is decided whether to compile

Given = TypeVar("Given")


class Failed(Exception):
    """A measurement ended without a figure; the message says why."""


def images_per_second(
    step: Callable[[Given], object], batches: Iterable[Given], batch_size: int, seconds: float, steps: int | None = None
) -> float:
    """Images/s of `step` over `batches`, fetching them included, after a warm-up that is not counted: a step, on a GPU WARM_UP.

    Counts exactly `steps` steps, or, if None, whole steps until `seconds` are over, at least FEWEST_STEPS. `batches` is endless.
    """
    iterator = iter(batches)
    for _ in range(warm_up_steps()):
        step(next(iterator))
    _finish()
    began = time.perf_counter()
    done = 0
    while done < steps if steps else done < FEWEST_STEPS or time.perf_counter() - began < seconds:
        step(next(iterator))
        done += 1
    _finish()
    return done * batch_size / (time.perf_counter() - began)


def warm_up_steps() -> int:
    """Steps before the clock starts: the first is slower everywhere; see WARM_UP."""
    import torch

    return WARM_UP if torch.cuda.is_available() else 1


def _finish() -> None:
    """A GPU works on after the call has returned."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def child_environment() -> dict[str, str]:
    """This process's environment, in which `ssl_core` is found whether or not it is installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


AS_A_TRAINER = {"GOMP_SPINCOUNT": "1000"}  # what `ssl_core.data.machine.share_processors` sets before torch is imported


def in_child(
    script: str, task: Mapping[str, Any], environment: Mapping[str, str] = MappingProxyType({}), seconds: float | None = None
) -> dict[str, Any]:
    """What `script`, a file beside this one that ends with `answer`, answers to `task`.

    Raises Failed, and subprocess.TimeoutExpired after so many seconds.
    """
    command = [sys.executable, str(ROOT / "benchmarks" / script), json.dumps(task)]
    with tempfile.TemporaryFile("w+") as errors:
        env = {**child_environment(), **environment}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=env, timeout=seconds)
        if done.returncode != 0:
            errors.seek(0)
            said = errors.read().strip().splitlines() or [f"exit status {done.returncode}"]
            raise Failed(f"{script}: {said[-1]}")
    answered: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answered


def answer(function: Callable[..., dict[str, Any]]) -> None:
    """Call `function` with the task on the command line, and print what it returns as the last line."""
    print(json.dumps(function(**json.loads(sys.argv[1]))))


def resident(pid: int | str = "self") -> int:
    """Bytes of resident memory of a process, mapped pages included. Linux. Raises OSError for one that has ended."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def spread(values: Sequence[float], form: str = "{:,.0f}", missing: str = "–") -> str:
    """A cell of a table: minimum / **median** / maximum. Fewer than three values show as they are."""
    if not values:
        return missing
    texts = [form.format(value) for value in (min(values), statistics.median(values), max(values))]
    return form.format(values[0]) if len(values) == 1 else "{} / **{}** / {}".format(*texts)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Countdown:
    """Tells on stderr what is under way and how long the whole still takes.

    What is left is estimated by the guesses for it, times how wrong those for what is done were.
    """

    def __init__(self, guesses: Sequence[float]) -> None:
        """guesses: seconds, one for each thing to come, in order."""
        self._left = list(guesses)
        self._total = len(guesses)
        self._guessed = 0.0
        self._began = time.monotonic()
        say(f"{self._total} measurements, about {clock(sum(guesses))}")

    def next(self, name: str) -> None:
        """The next thing begins."""
        say(f"[{self._total - len(self._left) + 1}/{self._total}] {name}, {clock(self.left())} left")
        self._guessed += self._left.pop(0)

    def left(self) -> float:
        """Seconds, for all that has not begun; asked between two things."""
        wrong = self.elapsed() / self._guessed if self._guessed else 1.0
        return sum(self._left) * wrong

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began


def say(text: str) -> None:
    """A line on stderr, where progress goes; stdout is for tables."""
    print(text, file=sys.stderr, flush=True)
