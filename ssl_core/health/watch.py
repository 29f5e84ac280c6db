"""Remembers what a run has shown of itself, and judges it after every report and every evaluation. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ssl_core.health.verdict import PULSES, Health, Signs, judge, settled

KEPT = 2 * PULSES  # newest pulses
_OF_A_PULSE = (
    "batch_std",
    "train_loss",
    "gradient_norm",
    "learning_rate",
    "loss_at_chance",
    "data_wait_share",
    "prototype_usage",
)


class Watch:
    """The health of one run. All of it is in its state, so that a resumed run judges as an uninterrupted one."""

    def __init__(self, warmup_steps: float = 0.0) -> None:
        self.warmup_steps = warmup_steps
        self.evaluations: list[dict[str, float]] = []  # oldest first; the first is that of the weights that training began with
        self.pulses: list[dict[str, float]] = []
        self.health = Health("warming_up", ["training has just begun"])
        self._best_std = self._peak_lr = self._best_usage = 0.0

    def pulse(self, step: int, values: Mapping[str, float]) -> Health:
        """After a report, with what it told."""
        pulse = {name: float(values[name]) for name in _OF_A_PULSE if name in values}
        self.pulses = [*self.pulses, pulse][-KEPT:]
        if math.isfinite(pulse.get("batch_std", math.nan)):
            self._best_std = max(self._best_std, pulse["batch_std"])
        if math.isfinite(pulse.get("prototype_usage", math.nan)):
            self._best_usage = max(self._best_usage, pulse["prototype_usage"])
        self._peak_lr = max(self._peak_lr, pulse.get("learning_rate", 0.0))
        return self._judge(step)

    def evaluated(self, step: int, figures: Mapping[str, float]) -> Health:
        """After an evaluation of the weights at `step`; 0: those it began with."""
        self.evaluations.append(dict(figures))
        return self._judge(step)

    def diverged(self, why: str) -> Health:
        """When the run is about to end because of it."""
        self.health = Health("diverged", [why], judge(Signs(pulses=[{"train_loss": math.nan}])).suggestions)
        return self.health

    def has_settled(self, measure: str, patience: int, min_change: float) -> bool:
        """Whether a label-free measure has moved by less than `min_change` of its range over so many evaluations.

        Never of a run that is warming up or about to collapse: a constant answer is settled too.
        """
        if self.health.alarming or self.health.verdict == "warming_up":
            return False
        return settled([each[measure] for each in self.evaluations if measure in each], patience, min_change)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {
            "evaluations": self.evaluations,
            "pulses": self.pulses,
            "best": [self._best_std, self._peak_lr, self._best_usage],
            "health": [self.health.verdict, self.health.reasons, self.health.suggestions],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See state_dict."""
        self.evaluations, self.pulses = list(state["evaluations"]), list(state["pulses"])
        self._best_std, self._peak_lr, self._best_usage = [*state["best"], 0.0][:3]  # two, before prototypes were looked at
        self.health = Health(*state["health"])

    def _judge(self, step: int) -> Health:
        warm = step >= self.warmup_steps
        self.health = judge(Signs(self.evaluations, self.pulses, self._best_std, self._peak_lr, warm, self._best_usage))
        return self.health
