"""A process of the one-machine stack: started with its log, watched, stopped politely and then not. Knows no Imprint.

On Linux a child gets PR_SET_PDEATHSIG: when its parent dies, however it dies, the kernel ends the child too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
LOG_LIMIT = 10 * 2**20  # bytes; a longer log is set aside as .1 when its process starts


def die_with_parent(how: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """What to run in a child between fork and exec; None where the system has no such thing.

    The library is loaded here, before the fork. The signal follows the *thread* that spawned the child: spawn from the main
    thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, int(how), 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare


class Child:
    """One process and its log file, in a session of its own, so that a terminal's Ctrl-C reaches only us."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, patience: float) -> None:
        """`patience`: seconds from SIGTERM to SIGKILL."""
        self.name = name
        self.command = list(command)
        self.env = dict(env)
        self.log = log
        self.patience = patience
        self.started_at = 0.0  # monotonic
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # where in the log the present process began

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that has ended; negative: the number of the signal that ended it."""
        return self._process.poll() if self._process else None

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started_at

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        self.started_at = time.monotonic()

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything in its process group, now."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                else:
                    self._process.send_signal(number)

    def tail(self, lines: int = 20) -> str:
        """The end of what the present process, or the last one, wrote."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(self._log_start, self.log.stat().st_size - 16384))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""
