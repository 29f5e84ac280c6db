"""What a run shows of itself at every report, between two evaluations, and what is done about it.

The measures are of the batch at hand and cost about a thousandth of the steps between two reports; nothing is computed, and
nothing waits for the accelerator, in the steps between.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_core.events import Events
from ssl_core.health import Health, Watch, effective_rank, embedding_std
from ssl_core.methods.base import Method
from ssl_core.spec import TrainerConfig

_ROWS = 256  # of the batch, at most: the rank of more is no better a sign, and dearer


class Collapsed(Exception):
    """All images get nearly the same answer, and the spec says that a run which comes to that is to end."""

    def __init__(self, health: Health, step: int) -> None:
        super().__init__(f"collapsed by step {step}: {'; '.join(health.reasons)}")
        self.hint = "; ".join(health.suggestions)


def gradient_norm(method: Method) -> Tensor:
    """The L2 norm of all gradients together, a scalar on the device. Before they are clipped."""
    gradients = [parameter.grad for parameter in method.parameters() if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients)


def spread_of_the_batch(method: Method) -> dict[str, float]:
    """batch_std (× √d) and batch_rank of the newest projections of the query branch; nothing where it has not been used.

    Where the loss knows how long the outputs are, batch_std is at most their std as it is.
    The *projections*: encoders with batch norm keep their features apart within a batch even when they say nothing.
    """
    seen = method.branches.seen
    if seen is None or len(seen) < 2:
        return {}
    rows = seen[:_ROWS].float().cpu()
    if not bool(rows.isfinite().all()):
        return {"batch_std": math.nan, "batch_rank": math.nan}
    std = embedding_std(rows)
    if method.scale_matters:  # outputs that shrink to nothing are a constant answer, though on the sphere they are spread
        std = min(std, float(rows.std(dim=0).mean()))
    return {"batch_std": std, "batch_rank": effective_rank(rows)}


class Vitals:
    """Judges a run, tells of it when the verdict changes, and says when the run should end."""

    def __init__(self, config: TrainerConfig, events: Events, warmup_steps: float) -> None:
        self.config, self.events = config, events
        self.watch = Watch(warmup_steps)

    def report(self, method: Method, step: int, images: int) -> dict[str, float]:
        """Further values of a report: the batch's spread, and what follows from the step (`Method.gauges`)."""
        return spread_of_the_batch(method) | method.gauges(step, images)

    def pulse(self, step: int, values: dict[str, float]) -> None:
        """Judge after a report with these values."""
        before = self.watch.health
        self._tell(before, self.watch.pulse(step, values), step)

    def evaluated(self, step: int, figures: dict[str, float]) -> None:
        """Judge after an evaluation; it is told in any case, because the reasons are new."""
        before = self.watch.health
        self._tell(before, self.watch.evaluated(step, figures), step, always=True)

    def diverged(self, step: int, why: str) -> None:
        """Before a run ends because a number is no longer finite."""
        before = self.watch.health
        self._tell(before, self.watch.diverged(why), step)

    def has_collapsed(self) -> bool:
        """Whether the run should end because of it."""
        return self.config.on_collapse == "stop" and self.watch.health.verdict == "collapsed"

    def collapse(self, step: int) -> Collapsed:
        """What to raise then."""
        return Collapsed(self.watch.health, step)

    def has_settled(self) -> bool:
        """Whether the run should end, well, because the measure of `trainer.early_stop` does not move any more."""
        early = self.config.early_stop
        return early.measure != "off" and self.watch.has_settled(early.measure, early.patience, early.min_change)

    def settled(self, step: int, steps_total: int) -> str:
        """What to tell then."""
        early = self.config.early_stop
        value = self.watch.evaluations[-1].get(early.measure, math.nan) if self.watch.evaluations else math.nan
        return (
            f"stopped early, after step {step:,} of {steps_total:,}: {early.measure}, {value:.4g}, has moved by less than "
            f"{early.min_change:.0%} of its range over {early.patience + 1} evaluations (trainer.early_stop)"
        )

    def _tell(self, before: Health, now: Health, step: int, always: bool = False) -> None:
        changed = now.verdict != before.verdict
        if changed or always:
            self.events.emit("health", verdict=now.verdict, reasons=now.reasons, suggestions=now.suggestions, step=step)
        if changed and now.alarming:
            self.events.emit("warning", message=f"{now} at step {step:,}")
