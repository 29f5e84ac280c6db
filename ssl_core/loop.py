"""What happens between two optimiser steps: reports, evaluations, checkpoints, and stopping when asked.

All of it runs before a step begins, when weights, moving average, queue, optimiser and counters agree with each other.
"""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ssl_core import checkpoints
from ssl_core.compiling import Compiler, uncompiled
from ssl_core.evaluation import EvaluationData, NotFinite, evaluate
from ssl_core.events import Events, Stopped
from ssl_core.methods.base import Method
from ssl_core.spec import TrainSpec
from ssl_core.stream import Stream
from ssl_core.vitals import Vitals, gradient_norm

_PROGRESS_SECONDS = 1.0
EVALUATION_SHARE = 0.05  # of the training time, what evaluations in between may take by default


class Diverged(Exception):
    """The loss, or what the encoder makes of images, is no longer a finite number."""


class StoppedEarly(Exception):
    """A run ended well before its last step, because `trainer.early_stop` says so; its checkpoint is written."""


class BetweenSteps(pl.Callback):
    """The one callback of a run."""

    def __init__(
        self,
        spec: TrainSpec,
        events: Events,
        out: Path,
        stream: Stream,
        data: EvaluationData,
        compiler: Compiler,
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self.spec, self.events, self.out, self.stream, self.data = spec, events, out, stream, data
        self.compiler = compiler
        self.asked_to_stop = asked_to_stop
        self._on_sigterm = signal.getsignal(signal.SIGTERM)
        self.vitals = Vitals(spec.trainer, events, spec.optim.warmup_epochs * len(stream.batches))
        self.over: str | None = None  # why the run ended early, if it did
        self.latest: dict[str, float] = {}
        self.best: float = -math.inf
        self._looked_at = -1  # the step before which we last looked
        self._measured = -1  # the step that the newest evaluation is of
        self.steps_total = stream.steps
        self.steps_per_epoch = len(stream.batches)
        epochs = spec.trainer.max_epochs
        self.spread = max(1, round(epochs / 10))  # epochs between two evaluations, at least, where it is ours to choose
        self._random: nn.Module | None = None
        self._rng: torch.Tensor | None = None
        self._first_step = 0
        self._excluded = 0.0  # seconds of evaluation and checkpoints, which are not training speed
        self._evaluation_took = 0.0  # seconds, the newest one
        self._evaluated_at = 0.0  # training seconds before it
        self._evaluated_epoch = 0
        self._began = self._last_progress = self._last_checkpoint = time.monotonic()

    # Lightning's hooks

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks; restore the random state of the checkpoint."""
        assert isinstance(pl_module, Method)
        self._first_step = trainer.global_step
        if self._first_step == 0:  # also of a run that was stopped before its first step
            self._random = copy.deepcopy(pl_module.serving_encoder())
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)  # Lightning's own handler would end the run without a checkpoint
        if self._rng is not None:
            torch.set_rng_state(self._rng)
        self._began = self._last_progress = self._last_checkpoint = time.monotonic()
        self.stream.clock.shares()  # what came before is no part of training
        self.events.emit("phase", phase="training")

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two steps; not between two parts of one."""
        assert isinstance(pl_module, Method)
        if trainer.global_step != self._looked_at:
            self._looked_at = trainer.global_step
            self._between(trainer, pl_module, trainer.global_step)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """The gradients are there, unscaled and not clipped yet."""
        assert isinstance(pl_module, Method)
        if self._reports_after(trainer.global_step + 1):
            pl_module.latest["gradient_norm"] = gradient_norm(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """After the last step."""
        assert isinstance(pl_module, Method)
        self._between(trainer, pl_module, trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from, besides what Lightning keeps."""
        return {
            "health": self.vitals.watch.state_dict(),
            "over": self.over,
            "latest": self.latest,
            "best": self.best,
            "rng": torch.get_rng_state(),
            "evaluation": [self._evaluated_epoch, self._evaluation_took],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See state_dict."""
        if "health" in state_dict:
            self.vitals.watch.load_state_dict(state_dict["health"])
        else:  # a checkpoint of before verdicts looked at more than evaluations
            self.vitals.watch.evaluations = list(state_dict["history"])
        self.latest, self.best, self.over = dict(state_dict["latest"]), state_dict["best"], state_dict.get("over")
        self._rng = state_dict["rng"]
        self._evaluated_epoch, self._evaluation_took = state_dict.get("evaluation", (0, 0.0))

    # The work

    def _between(self, trainer: pl.Trainer, method: Method, step: int) -> None:
        if step > self._first_step:
            self.stream.clock.step(self.spec.trainer.batch)
            finished = step == self.steps_total
            if self._reports_after(step):
                self._report(trainer, method, step)
            if self._random is not None:  # after the first step, so that training starts at once
                with self.stream.clock.stopped():
                    self._evaluate(trainer, self._random, 0)
                self._random = None
            if step % self.steps_per_epoch == 0 and self._evaluates_after(trainer, step // self.steps_per_epoch):
                with self.stream.clock.stopped():
                    self._evaluate(trainer, method.serving_encoder(), step)
                if not finished:
                    self._end_early(trainer, step)
            if finished or time.monotonic() - self._last_progress >= _PROGRESS_SECONDS or step == self._first_step + 1:
                self._progress(trainer, step)
        due, stop = self._agree(trainer, self._checkpoint_due(step), self.asked_to_stop())
        if stop or due:
            with self.stream.clock.stopped():
                self._checkpoint(trainer, step)
        if stop and step < self.steps_total:
            raise Stopped(step)
        self.compiler.before_step(self.steps_total - step)

    def _reports_after(self, step: int) -> bool:
        return step % self.spec.trainer.log_every_steps == 0 or step in (self._first_step + 1, self.steps_total)

    def _evaluates_after(self, trainer: pl.Trainer, epoch: int) -> bool:
        """At the end; before it as often as asked for, or about ten times but for no more than EVALUATION_SHARE of the time."""
        every = self.spec.evaluate.every_epochs
        if epoch == self.spec.trainer.max_epochs:
            return True
        if every != "auto":
            return epoch % every == 0
        enough = self._trained() - self._evaluated_at >= self._evaluation_took / EVALUATION_SHARE
        return self._agree(trainer, enough and epoch - self._evaluated_epoch >= self.spread)[0]

    def _trained(self) -> float:
        """Seconds of this attempt's training, without evaluations and checkpoints."""
        return time.monotonic() - self._began - self._excluded

    def _checkpoint_due(self, step: int) -> bool:
        late = time.monotonic() - self._last_checkpoint >= self.spec.trainer.checkpoint_every_seconds
        better = step == self._measured and self._score(step) > self.best
        return step == self.steps_total or late or better

    def _agree(self, trainer: pl.Trainer, due: bool, stop: bool = False) -> tuple[bool, bool]:
        """Rank 0's clock and any rank's signal decide for all."""
        if trainer.world_size == 1:
            return due, stop
        flags = torch.tensor([int(due and trainer.is_global_zero), int(stop)], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
        return bool(flags[0]), bool(flags[1])

    def _report(self, trainer: pl.Trainer, method: Method, step: int) -> None:
        values = {name: float(value) for name, value in method.latest.items()}
        if not math.isfinite(values.get("train_loss", 0.0)):
            self.events.emit("metrics", epoch=self._epoch(step), step=step, values=values)
            raise self._diverged(step, f"train_loss is {values['train_loss']} at step {step}")
        values["learning_rate"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        values |= self.vitals.report(method, step, self.spec.trainer.batch)
        self._metrics(step, values | self.stream.clock.shares())
        self.vitals.pulse(step, self.latest)
        self._end_if_collapsed(trainer, step)

    def _diverged(self, step: int, why: str) -> Diverged:
        self.vitals.diverged(step, why)
        return Diverged(why)

    def _end_if_collapsed(self, trainer: pl.Trainer, step: int) -> None:
        if self.spec.trainer.on_collapse == "stop" and self._agree(trainer, self.vitals.has_collapsed())[0]:
            raise self.vitals.collapse(step)

    def _end_early(self, trainer: pl.Trainer, step: int) -> None:
        if self.spec.trainer.early_stop.measure == "off" or not self._agree(trainer, self.vitals.has_settled())[0]:
            return
        self.over = self.vitals.settled(step, self.steps_total)
        self._checkpoint(trainer, step)
        self._progress(trainer, step)
        self.events.emit("note", message=self.over)
        raise StoppedEarly(self.over)

    def _metrics(self, step: int, values: dict[str, float]) -> None:
        self.latest.update(values)
        self.events.emit("metrics", epoch=self._epoch(step), step=step, values=values)

    def _epoch(self, step: int) -> int:
        """Epochs completed."""
        return step // self.steps_per_epoch

    def _progress(self, trainer: pl.Trainer, step: int) -> None:
        now = time.monotonic()
        elapsed = now - self._began
        done = step - self._first_step
        speed = done * self.spec.trainer.batch / max(self._trained(), 1e-9)
        self.events.emit(
            "progress",
            epoch=self._epoch(step),
            step=step,
            steps_total=self.steps_total,
            fraction=step / self.steps_total,
            images_per_second=round(speed, 1),
            eta_seconds=round(elapsed / done * (self.steps_total - step), 1),
        )
        self._last_progress = now

    def _evaluate(self, trainer: pl.Trainer, encoder: nn.Module, step: int) -> None:
        began = time.monotonic()
        if trainer.is_global_zero:
            self.events.emit("phase", phase="evaluating")
            try:
                with uncompiled(encoder):
                    figures = evaluate(encoder, self.data, self.spec.evaluate, trainer.strategy.root_device)
            except NotFinite as error:
                raise self._diverged(step, f"{error} after step {step}") from error
            if figures:
                self._measured = step
                self._metrics(step, figures)
                self.vitals.evaluated(step, figures)
            self.events.emit("phase", phase="training")
        trainer.strategy.barrier("evaluate")
        self._evaluation_took = time.monotonic() - began
        self._excluded += self._evaluation_took
        self._evaluated_epoch, self._evaluated_at = self._epoch(step), self._trained()
        self._end_if_collapsed(trainer, step)

    def _checkpoint(self, trainer: pl.Trainer, step: int) -> None:
        began = time.monotonic()
        path = checkpoints.step_path(self.out / "checkpoints", step)
        score = self._score(step)
        best = score > -math.inf and score >= self.best
        self.best = max(score, self.best)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            if best:
                checkpoints.mark_best(path)
            checkpoints.prune(path.parent)
            self.events.emit("checkpoint", file=f"checkpoints/{path.name}", epoch=self._epoch(step), step=step)
        self._last_checkpoint = time.monotonic()
        self._excluded += self._last_checkpoint - began

    def _score(self, step: int) -> float:
        """What makes a checkpoint the best: the kNN accuracy of these very weights where there are labels, else the loss."""
        if "knn_top1" in self.latest:
            return self.latest["knn_top1"] if step == self._measured else -math.inf
        return -self.latest.get("train_loss", math.inf)
