"""What a trainer's process is told from outside: to stop, by a signal; that its supervisor is gone, by the kernel or a pipe."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from types import FrameType

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class StopFlag:
    """Set by SIGTERM (and Ctrl-C); training looks at it between steps."""

    def __init__(self) -> None:
        self.is_set = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True

    def __call__(self) -> bool:
        return self.is_set


def die_with_parent() -> None:
    """No trainer without a supervisor: by the kernel's word, and by the end of the pipe on stdin, whichever comes first."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-pipe", daemon=True).start()
