"""Loaded by every Python that has a copy of this file first on its PYTHONPATH: names our seams, and dies at one.

A seam is a call after which something is durable or visible: fsync, rename, replace, link, unlink, a database's commit. Its
name is "<before or after> <operation> in <module>.<function> #<count>": how often this process has come there since something was
armed. The product knows nothing of it, so that no seam can be forgotten.

Beside this file:
    seen        names are appended, in the order in which they are passed, by all processes
    armed       the name at which to die, by SIGKILL; renamed to `fired` by the one process that does
    clock       seconds by which this process's clock is wrong
"""

from __future__ import annotations

import datetime
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOMS = ("api", "worker", "jobs", "ssl_core")
TRANSPARENT = ("jobs.database", "jobs.durable", "ssl_core.durable")  # what they do, they do for whoever called them
TOLD_APART = 6
counts: dict[str, int] = {}
counted_since = 0
rename, kill, getpid = os.rename, os.kill, os.getpid


def seam(operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def watched(*args: Any, **more: Any) -> Any:
        where = ours()
        if where is not None:
            passing(f"before {operation} in {where}")
        given = call(*args, **more)
        if where is not None:
            passing(f"after {operation} in {where}")
        return given

    return watched


def ours() -> str | None:
    """The innermost function of ours that is being called."""
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        named = module.split(".")[0] in ROOMS and not frame.f_code.co_name.startswith("<")
        if named and module not in TRANSPARENT:
            return f"{module}.{frame.f_code.co_name}"
        frame = frame.f_back
    return None


def passing(seam: str) -> None:
    global counted_since
    try:
        armed = (HERE / "armed").stat().st_mtime_ns
    except FileNotFoundError:
        return
    if armed != counted_since:
        counts.clear()
        counted_since = armed
    counts[seam] = counts.get(seam, 0) + 1
    if counts[seam] > TOLD_APART:
        return
    name = f"{seam} #{counts[seam]}"
    with open(HERE / "seen", "a") as seen:
        seen.write(name + "\n")
    try:
        if (HERE / "armed").read_text() != name:
            return
        rename(HERE / "armed", HERE / "fired")
    except FileNotFoundError:
        return
    kill(getpid(), signal.SIGKILL)


for operation in ("fsync", "rename", "replace", "link", "unlink"):
    setattr(os, operation, seam(operation, getattr(os, operation)))

if {"worker", "api"} & {*sys.orig_argv}:
    from sqlalchemy.engine.default import DefaultDialect

    commit = seam("commit", DefaultDialect.do_commit)
    DefaultDialect.do_commit = lambda self, connection: commit(self, connection)  # type: ignore[method-assign]

if (HERE / "clock").exists():
    wrong = float((HERE / "clock").read_text())
    true_time, true_datetime = time.time, datetime.datetime

    class Wrong(true_datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return true_datetime.now(tz) + datetime.timedelta(seconds=wrong)

    time.time = lambda: true_time() + wrong
    time.time_ns = lambda: int(1e9 * time.time())
    datetime.datetime = Wrong  # type: ignore[misc]
