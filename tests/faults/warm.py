"""`python -m ssl_core` a thousand times, without waiting for torch each time: one process imports it, each run is a fork of it.

A fork differs from a fresh process only in what it need not import: it has its own arguments and output, runs the module as
`__main__`, and may kill itself.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import subprocess
import sys
from pathlib import Path

MODULES = (
    *("ssl_core.train", "ssl_core.bulk.run", "ssl_core.export"),
    *("torchvision.models", "timm", "sklearn.linear_model", "pyarrow.parquet", "omegaconf"),
)


class Warm:
    """The process that forks, seen from outside."""

    def __init__(self, env: dict[str, str]) -> None:
        """env: of every run, too."""
        command = [sys.executable, "-P", __file__]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def start(self, words: list[str], log: Path) -> int:
        """Begin `python -m ssl_core WORDS`, whose output goes to `log`; gives the process's id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([words, str(log)]).encode() + b"\n")
        return self._told(60)

    def end(self, patience: float) -> int:
        """Its exit status, negative for a signal. Raises TimeoutError."""
        return self._told(patience)

    def _told(self, patience: float) -> int:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            raise TimeoutError(f"a trainer: not within {patience:g} s")
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()  # and close the pipes


def main() -> None:
    """One run for each line of the standard input; its id and its status are lines of the standard output."""
    sys.modules["openvino"] = None  # type: ignore[assignment]  # half of a run would go into its conversion of the encoder
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        words, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(words, log)
        print(pid, flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(status, flush=True)


def become(words: list[str], log: str) -> None:
    """Run the module in this process, and end it."""
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.argv = ["ssl_core", *words]
    runpy.run_module("ssl_core", run_name="__main__", alter_sys=True)  # ends by sys.exit()


if __name__ == "__main__":
    main()
