"""A run as monitoring sees it: counted for Prometheus, and, where traces are on, a span with the trainer and its phases in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from jobs import tracing
from jobs.records import Claim
from worker.telemetry import Telemetry


class Run:
    """One attempt. Everything but `end` is for traces, and does nothing where they are off."""

    def __init__(self) -> None:
        self.end = "error"  # what became of the job
        self._stack = ExitStack()
        self._trainer: Any = None
        self._phase: tuple[str, float] | None = None

    def starts(self) -> dict[str, str]:
        """The trainer is about to be started: what its environment has more."""
        self._trainer = self._stack.enter_context(tracing.span("trainer"))
        parent = tracing.traceparent()
        return {} if parent is None else {"TRACEPARENT": parent}

    def phase(self, name: str | None) -> None:
        """The trainer is in another phase from here on, or, with None, in none."""
        now = time.time()
        if self._phase is not None and self._phase[0] != name:
            tracing.lasting(self._phase[0], self._phase[1], now)
            self._phase = None
        if self._phase is None and name is not None and tracing.on():
            self._phase = (name, now)

    def exited(self, status: int) -> None:
        """The trainer has ended."""
        self.phase(None)
        if self._trainer is not None:
            self._trainer.set_attribute("process.exit.code", status)
            if status not in (0, 3):
                tracing.failed(self._trainer, f"exit status {status}")
        self.close()

    def close(self) -> None:
        """End the trainer's span, if it has not ended."""
        self._stack.close()
        self._trainer = None


@contextmanager
def watched(claim: Claim, telemetry: Telemetry) -> Iterator[Run]:
    """Around an attempt, whose `end` is set within."""
    run, began = Run(), time.monotonic()
    telemetry.began()
    attributes = {"imprint__job": claim.job_id, "imprint__kind": claim.kind, "imprint__attempt": claim.attempt}
    try:
        with tracing.span(f"run {claim.kind}", kind="consumer", parent=claim.traceparent, **attributes) as made:
            try:
                yield run
            finally:
                run.close()
                if made is not None:
                    made.set_attribute("imprint.end", run.end)
                if run.end in ("failed", "error"):
                    tracing.failed(made, run.end)
    finally:
        telemetry.ended(claim.kind, run.end, time.monotonic() - began)
