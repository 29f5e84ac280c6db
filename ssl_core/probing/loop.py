"""Epochs of SGD or AdamW over labelled images or features, with checkpoints between two steps.

Everything random is a function of (seed, epoch, image) or lies in the checkpoint: on a CPU a run that was stopped and resumed
equals one that was not, bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer

from ssl_core import checkpoints
from ssl_core.data.batch import RawBatch
from ssl_core.data.batches import TrainBatches
from ssl_core.optim import learning_rate, parameter_groups
from ssl_core.probing.progress import Said
from ssl_core.spec.probe import FinetuneSpec, LinearProbeSpec, Schedule
from ssl_core.stream import Stream

CHECKPOINTS = "checkpoints"
DROPS = ((0.6, 0.1), (0.8, 0.01))  # MoCo's: from this share of the run on, this share of the rate


class Diverged(Exception):
    """The loss is no longer a finite number."""


def rate_at(step: int, *, peak: float, schedule: Schedule, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of optimiser step `step` of `total_steps`, counted from 0."""
    if schedule != "steps":
        return learning_rate(step, peak=peak, warmup_steps=warmup_steps, total_steps=total_steps, schedule=schedule)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * min((share for begin, share in DROPS if step >= begin * total_steps), default=1.0)


def build(spec: LinearProbeSpec | FinetuneSpec, head: nn.Module, body: nn.Module | None) -> Optimizer:
    """The optimiser of a spec; groups carry `peak`, the rate that the schedule scales."""
    head_lr = spec.lr if not isinstance(spec, FinetuneSpec) or spec.head_lr is None else spec.head_lr
    groups: list[dict[str, Any]] = []
    for module, peak in ((body, spec.lr), (head, head_lr)):
        if module is not None:
            groups += [{**group, "peak": peak} for group in parameter_groups(module)]
    for group in groups:
        group.pop("adapt", None)
    common: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay, "foreach": True}
    if spec.optimizer == "adamw":
        return AdamW(groups, betas=(spec.momentum, 0.999), **common)
    return SGD(groups, momentum=spec.momentum, nesterov=spec.optimizer == "nesterov", **common)


@dataclass
class Fit:
    """What is fitted. `trained` holds all that changes; `logits(batch, epoch)` gives (n, classes) with a gradient."""

    trained: nn.Module
    optimizer: Optimizer
    batches: TrainBatches
    labels: Tensor  # int64 (N,), on the device of the logits
    logits: Callable[[RawBatch, int], Tensor]
    offset: int  # steps of the job before the first

    def run(self, spec: LinearProbeSpec | FinetuneSpec, out: Path, resume: Sequence[Path], said: Said) -> dict[str, float]:
        """All epochs, from the newest checkpoint of `out` or `resume` on; returns the last training figures.

        Raises Stopped (after a checkpoint) and Diverged.
        """
        per_epoch = len(self.batches)
        total = per_epoch * spec.epochs
        warmup = round(spec.warmup_epochs * per_epoch) if isinstance(spec, FinetuneSpec) else 0
        found = checkpoints.newest([folder / CHECKPOINTS for folder in (out, *resume)])
        step = 0
        latest: dict[str, float] = {}
        if found is not None:
            step, latest = self._restore(found.path)
            said.events.emit("resumed", file=found.path.name, step=self.offset + step)
        said.begin("training", self.offset + step)
        saved = time.monotonic()
        for batch in Stream(self.batches, spec.epochs, step):
            if said.asked_to_stop():
                self._save(out, step, latest, said)
                said.checked(self.offset + step)
            for group in self.optimizer.param_groups:
                peak = group["peak"]
                group["lr"] = rate_at(step, peak=peak, schedule=spec.schedule, warmup_steps=warmup, total_steps=total)
            logits, labels = self.logits(batch, step // per_epoch), self.labels[batch.index.to(self.labels.device)]
            loss = cross_entropy(logits.float(), labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            step += 1
            if said.done(self.offset + step, len(labels), step // per_epoch) or step == total:
                latest = self._figures(loss, logits, labels)
                said.events.emit("metrics", epoch=step // per_epoch, step=self.offset + step, values=latest)
                if not math.isfinite(latest["train_loss"]):
                    raise Diverged(f"train_loss is {latest['train_loss']} at step {step}")
            if time.monotonic() - saved >= spec.checkpoint_every_seconds or step == total:
                self._save(out, step, latest, said)
                saved = time.monotonic()
        return latest

    def _figures(self, loss: Tensor, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Of one batch."""
        right = (logits.detach().argmax(1) == labels).double().mean()
        rate = self.optimizer.param_groups[0]["lr"]
        return {"train_loss": loss.item(), "train_top1": 100.0 * right.item(), "learning_rate": rate}

    def _save(self, out: Path, step: int, latest: dict[str, float], said: Said) -> None:
        path = checkpoints.step_path(out / CHECKPOINTS, step)
        state = {
            "step": step,
            "latest": latest,
            "trained": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.labels.is_cuda else None,
        }
        checkpoints.AtomicCheckpointIO().save_checkpoint(state, path)
        checkpoints.prune(path.parent)
        epoch = step // len(self.batches)
        said.events.emit("checkpoint", file=f"{CHECKPOINTS}/{path.name}", epoch=epoch, step=self.offset + step)

    def _restore(self, path: Path) -> tuple[int, dict[str, float]]:
        state = checkpoints.AtomicCheckpointIO().load_checkpoint(path)
        self.trained.load_state_dict(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self.labels.is_cuda:
            torch.cuda.set_rng_state(state["cuda_rng"])
        return int(state["step"]), dict(state["latest"])
