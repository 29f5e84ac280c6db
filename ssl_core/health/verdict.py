"""From measures to a verdict, the reasons for it, and what to try. Pure; knows no torch.

    warming_up   too early to tell
    healthy      embeddings are spread, and the run moves
    plateaued    nothing has moved for a while, or it never has
    collapsing   the spread has shrunk to a fraction of what it was
    collapsed    all images get nearly the same answer
    diverged     a number is no longer finite

Two kinds of figures are judged: *evaluations* of frozen features of held-out images (the first at the beginning), and between
them *pulses*, taken from the batch at hand at every report. A verdict on pulses needs PULSES of them in a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

VERDICTS = ("warming_up", "healthy", "plateaued", "collapsing", "collapsed", "diverged")
ALARMS = frozenset({"collapsing", "collapsed", "diverged"})

# What the thresholds are, and the runs that they were taken from: docs/decisions/0014-job-health.md
PULSES = 3  # reports in a row that must agree
COLLAPSED_STD, COLLAPSED_RANK = 0.02, 2.0  # std × √d, and effective rank, of held-out embeddings
PULSE_STD = 0.03  # std × √d of a batch's projections: below it all images are one point
SHRUNK = 0.5  # of the best so far: effective rank of held-out embeddings
PULSE_SHRUNK = 0.2  # of the best so far: std × √d of a batch's projections
PULSE_USAGE, USAGE_SHRUNK = 0.3, 0.5  # of the entropy that a batch's prototypes can have, and of the best of it so far
AT_CHANCE = 0.01  # of ln K, how near a cross-entropy must stay to it to tell nothing apart
SETTLED = 0.02  # of all that a measure has moved since the beginning
WINDOW = 3  # evaluations, beside the newest, over which it must be settled
SLOW = 0.1  # of the peak learning rate: below it a run settles because it is meant to
WAITING = 0.5  # of the time

_SPREAD_ADVICE = (
    "lower optim.lr or lengthen optim.warmup_epochs",
    "keep what prevents the constant answer: negatives, or a predictor with batch norm and target 'ema', or VICReg's variance",
    "look at the views (imprint preview): such that differ too little or too much ask nothing of the network",
)
_PROTOTYPE_ADVICE = (
    "keep what spreads images over prototypes: DINO's centring (method.center_momentum below 1), SwAV's Sinkhorn",
    "a higher teacher temperature, or a longer warm-up of it",
    "lower optim.lr or lengthen optim.warmup_epochs",
)
_CHANCE_ADVICE = (
    "another optim.lr: ten times lower, then ten times higher",
    "a higher loss.temperature",
    "weaker views (a larger augment.crop_scale, less jitter): see imprint preview",
)
_PLATEAU_ADVICE = (
    "stop here: the encoder is as good as this recipe makes it (trainer.early_stop does so by itself)",
    "stronger views, a wider projector, or a larger encoder, if it is not good enough",
)
_DIVERGED_ADVICE = ("lower optim.lr", "lengthen optim.warmup_epochs", "set trainer.gradient_clip", "precision 'fp32'")


@dataclass(frozen=True)
class Health:
    """A verdict (one of VERDICTS), the reasons for it, and what to try."""

    verdict: str
    reasons: list[str]
    suggestions: list[str] = field(default_factory=list)

    @property
    def alarming(self) -> bool:
        return self.verdict in ALARMS

    def __str__(self) -> str:
        told = f"{self.verdict}: {'; '.join(self.reasons)}"
        return f"{told} (try: {'; '.join(self.suggestions)})" if self.suggestions else told


Figures = Mapping[str, float]


@dataclass(frozen=True)
class Signs:
    """All that is known of a run.

    evaluations, oldest first, the first at the beginning: embedding_std, effective_rank, perhaps uniformity, knn_top1.
    pulses, oldest first, the newest few: batch_std, train_loss, gradient_norm, learning_rate, perhaps loss_at_chance and
    prototype_usage. best_std, best_usage: the largest batch_std and prototype_usage so far. peak_lr: the largest learning
    rate so far. warm: whether warm-up is over.
    """

    evaluations: Sequence[Figures] = ()
    pulses: Sequence[Figures] = ()
    best_std: float = 0.0
    peak_lr: float = 0.0
    warm: bool = True
    best_usage: float = 0.0


def judge(signs: Signs) -> Health:
    """The gravest verdict that the figures support."""
    return _diverged(signs) or _collapsed(signs) or _collapsing(signs) or _at_chance(signs) or _plateaued(signs) or _well(signs)


def _diverged(signs: Signs) -> Health | None:
    """By the loss alone: fp16 skips a step with an infinite gradient and goes on."""
    if signs.pulses and not math.isfinite(signs.pulses[-1].get("train_loss", 0.0)):
        return Health("diverged", [f"train_loss is {signs.pulses[-1]['train_loss']}"], list(_DIVERGED_ADVICE))
    return None


def _collapsed(signs: Signs) -> Health | None:
    """By the held-out embeddings, or by the batches' projections since."""
    if len(signs.evaluations) > 1:
        start, now = signs.evaluations[0], signs.evaluations[-1]
        if now["effective_rank"] < COLLAPSED_RANK or now["embedding_std"] < COLLAPSED_STD:
            # A network that still tells classes apart better than at the beginning has shrunk, not collapsed.
            verdict = "collapsing" if now.get("knn_top1", 0.0) > start.get("knn_top1", 0.0) else "collapsed"
            spread = f"std × √d is {now['embedding_std']:.3f} (evenly spread: 1), effective rank {now['effective_rank']:.1f}"
            return Health(verdict, [f"all images have nearly the same embedding: {spread}"], list(_SPREAD_ADVICE))
    if (std := _stays_below(signs, "batch_std", PULSE_STD)) is not None:
        why = f"all images of a batch have nearly the same projection: std × √d is {std:.3f} (evenly spread: 1)"
        return Health("collapsed", [why], list(_SPREAD_ADVICE))
    if (usage := _stays_below(signs, "prototype_usage", PULSE_USAGE)) is not None:
        why = f"all images go to a few of the prototypes: their entropy is {usage:.2f} of what it could be"
        return Health("collapsed", [why], list(_PROTOTYPE_ADVICE))
    return None


def _collapsing(signs: Signs) -> Health | None:
    reasons = []
    if (std := _stays_below(signs, "batch_std", PULSE_SHRUNK * signs.best_std)) is not None:
        reasons.append(f"the spread of the projections, std × √d, fell from {signs.best_std:.2f} to {std:.2f}")
    if (usage := _stays_below(signs, "prototype_usage", USAGE_SHRUNK * signs.best_usage)) is not None:
        reasons.append(f"images go to fewer and fewer prototypes: their entropy fell from {signs.best_usage:.2f} to {usage:.2f}")
    if len(signs.evaluations) > 2:  # twice since training began: the first steps may well bring it down before it rises
        best, now = max(each["effective_rank"] for each in signs.evaluations), signs.evaluations[-1]["effective_rank"]
        if now < SHRUNK * best:
            reasons.append(f"effective rank fell to {now:.1f}, less than half of its best, {best:.1f}")
    return Health("collapsing", reasons, list(_SPREAD_ADVICE if usage is None else _PROTOTYPE_ADVICE)) if reasons else None


def _at_chance(signs: Signs) -> Health | None:
    """A cross-entropy that stays at ln K: the network tells nothing apart, though what it says may be spread."""
    recent = [pulse for pulse in signs.pulses if pulse.get("loss_at_chance")]
    if not signs.warm or len(recent) < 2 * PULSES:
        return None
    loss, chance = median(pulse["train_loss"] for pulse in recent), recent[-1]["loss_at_chance"]
    if abs(loss - chance) > AT_CHANCE * chance:
        return None
    return Health("plateaued", [f"the loss stays at chance: {loss:.3f}, and ln K is {chance:.3f}"], list(_CHANCE_ADVICE))


def _plateaued(signs: Signs) -> Health | None:
    if not signs.warm:
        return None
    if len(signs.evaluations) > WINDOW + 1:  # in the first epochs kNN may well fall before it rises
        start, now = signs.evaluations[0], signs.evaluations[-1]
        if now.get("knn_top1", 1.0) <= start.get("knn_top1", 0.0):
            why = f"kNN {now['knn_top1']:.1f} % is no better than at the beginning, {start['knn_top1']:.1f} %"
            return Health("plateaued", [why], list(_CHANCE_ADVICE))
    names = [name for name in ("effective_rank", "uniformity") if all(name in each for each in signs.evaluations)]
    slow = bool(signs.pulses) and signs.pulses[-1].get("learning_rate", math.inf) < SLOW * signs.peak_lr
    if slow or not names or not all(settled([each[name] for each in signs.evaluations]) for name in names):
        return None
    moved = ", ".join(f"{name} {signs.evaluations[-1][name]:.4g}" for name in names)
    return Health("plateaued", [f"nothing has moved over {WINDOW + 1} evaluations: {moved}"], list(_PLATEAU_ADVICE))


def settled(values: Sequence[float], window: int = WINDOW, share: float = SETTLED) -> bool:
    """Whether the newest window + 1 values lie within `share` of the range of all of them; False while there are no others."""
    if len(values) < window + 2 or not all(map(math.isfinite, values)):
        return False
    newest = values[-window - 1 :]
    return max(newest) - min(newest) <= share * (max(values) - min(values))


def _well(signs: Signs) -> Health:
    reasons = []
    waits = [pulse["data_wait_share"] for pulse in signs.pulses if "data_wait_share" in pulse][-PULSES:]
    slow = len(waits) == PULSES and min(waits) > WAITING
    if len(signs.evaluations) < 2 or not signs.warm:
        verdict = "warming_up"
        reasons.append("no evaluation since training began" if signs.warm else "the learning rate is still rising")
    else:
        verdict, start, now = "healthy", signs.evaluations[0], signs.evaluations[-1]
        spread = f"effective rank {now['effective_rank']:.1f}, std × √d {now['embedding_std']:.2f}"
        reasons.append(f"embeddings are spread: {spread}")
        if "knn_top1" in now and "knn_top1" in start:
            reasons.append(f"kNN {now['knn_top1']:.1f} %, at the beginning {start['knn_top1']:.1f} %")
    if slow:
        reasons.append(f"{100 * waits[-1]:.0f} % of the time is spent waiting for data")
    advice = ["more data.workers, or room in the cache (IMPRINT_CACHE_BYTES) so that images are decoded once"] if slow else []
    return Health(verdict, reasons, advice)


def _stays_below(signs: Signs, name: str, limit: float) -> float | None:
    """The newest of PULSES values in a row that are all below the limit; None where they are not."""
    recent = [pulse[name] for pulse in signs.pulses if name in pulse][-PULSES:]
    return recent[-1] if len(recent) == PULSES and max(recent) < limit else None
