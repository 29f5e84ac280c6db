"""The optimiser and its schedule: SGD, LARS or AdamW, linear warm-up, then cosine or constant, per step.

    build_optimizer(module, config, total_steps, steps_per_epoch)   what Lightning's `configure_optimizers` returns
    learning_rate(step, ...)                                        the schedule, a pure function of the step
    parameter_groups(module, exclude)                               who gets weight decay and LARS scaling
    LARS                                                            the optimiser, usable by itself

Because the rate is a function of the step alone, a resumed run continues as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, TypedDict, overload

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ssl_core.spec.training import OptimConfig

Denominator = Literal["sum_of_norms", "norm_of_sum"]
Schedule = Literal["cosine", "constant"]


class PerStep(LambdaLR):
    """The rate and, where it has a schedule, the weight decay of each step, both as functions of the step alone.

    decayed: the numbers of the parameter groups whose weight decay follows `decay`; that of the others stays as it is.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: Callable[[int], float],
        decay: Callable[[int], float] | None = None,
        decayed: Sequence[int] = (),
    ) -> None:
        self._decay, self._decayed = decay, decayed
        super().__init__(optimizer, factor)

    def step(self, epoch: int | None = None) -> None:
        """After each optimiser step; called once when the schedule is made."""
        super().step(epoch)
        if self._decay is not None:
            for number in self._decayed:
                self.optimizer.param_groups[number]["weight_decay"] = self._decay(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Plain values: the functions come from the spec again."""
        return {name: value for name, value in super().state_dict().items() if name not in ("_decay", "_decayed")}


class Scheduler(TypedDict):
    """Lightning's form of a schedule that moves after every optimiser step."""

    scheduler: PerStep
    interval: Literal["step"]


class OptimizerAndSchedule(TypedDict):
    """What Lightning's `configure_optimizers` may return."""

    optimizer: Optimizer
    lr_scheduler: Scheduler


class LARS(Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm 1).

    For each parameter w with gradient g, rate lr, weight decay wd and momentum m:

        trust  = eta · ‖w‖ / denominator           1 where ‖w‖ = 0 or the gradient is 0, and for excluded parameters
        buffer = m · buffer + lr · trust · (g + wd · w)
        w      = w - buffer

    denominator: "sum_of_norms" is ‖g‖ + wd · ‖w‖, the paper's; "norm_of_sum" is ‖g + wd · w‖, that of the SimCLR and BYOL
    code ("the gradient" is then g + wd · w). A third convention, lightly's, is the paper's with the scaling off wherever
    wd = 0; here scaling depends on `adapt` alone, and `parameter_groups` turns both off for the same parameters.

    As in the paper (and SimCLR's code), the rate multiplies the gradient as it enters the buffer, not the buffer as it
    leaves: where the rate changes, past steps keep the rate they were taken with. torch.optim.SGD and lightly's LARS do the
    latter; while the rate is constant the two are the same.

    A trust of 1 lets weights that start at zero move, and a zero parameter without gradient stays zero instead of becoming
    NaN. A gradient that is NaN does reach the weights: the loss must show it. Norms and trust never leave the device, so a
    step does not wait for it. A group may override lr, momentum, weight_decay, eta, denominator and adapt.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 1e-3,
        denominator: Denominator = "sum_of_norms",
        adapt: bool = True,
    ) -> None:
        if lr < 0 or weight_decay < 0 or eta <= 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"lr = {lr} and weight_decay = {weight_decay} must be at least 0, eta = {eta} above 0, "
                f"momentum = {momentum} at least 0 and below 1"
            )
        if denominator not in ("sum_of_norms", "norm_of_sum"):
            raise ValueError(f"denominator = {denominator!r} must be 'sum_of_norms' or 'norm_of_sum'")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "eta": eta,
            "denominator": denominator,
            "adapt": adapt,
        }
        super().__init__(params, defaults)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        weights: list[Tensor] = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        decay, rate = group["weight_decay"], group["lr"]
        updates = list(torch._foreach_add(gradients, weights, alpha=decay)) if decay else [each.clone() for each in gradients]
        if group["adapt"]:
            measured = gradients if group["denominator"] == "sum_of_norms" else updates
            extra = decay if group["denominator"] == "sum_of_norms" else 0.0
            torch._foreach_mul_(updates, _trust(weights, measured, extra, group["eta"]))
        torch._foreach_mul_(updates, rate)

        if group["momentum"]:
            for weight in weights:
                if "momentum_buffer" not in self.state[weight]:
                    self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            updates = buffers
        torch._foreach_sub_(weights, updates)


def _trust(weights: list[Tensor], gradients: list[Tensor], decay: float, eta: float) -> list[Tensor]:
    """η‖w‖ / (‖g‖ + decay·‖w‖) for each pair, as 0-dimensional tensors; 1 where either norm is 0."""
    weight_norms = torch.stack(torch._foreach_norm(weights))
    gradient_norms = torch.stack(torch._foreach_norm(gradients))
    trust = eta * weight_norms / (gradient_norms + decay * weight_norms)  # NaN or ∞ where both are 0, and not taken then
    return list(torch.where((weight_norms > 0) & (gradient_norms > 0), trust, torch.ones_like(trust)).unbind())


def parameter_groups(
    parameters: nn.Module | Iterable[tuple[str, nn.Parameter]],
    exclude: Literal["none", "norm_and_bias"] = "norm_and_bias",
) -> list[dict[str, Any]]:
    """Split trainable parameters into those with weight decay and LARS scaling, and those with neither.

    norm_and_bias: parameters of at most one dimension are excluded. That is what every norm and every bias is; a list of
    names such as ("bn", "bias") would miss the batch norms that ResNets call `downsample.1` and heads call `1`. Each
    parameter appears once, in order; frozen ones (a target network) are left out. Raises ValueError if none is left.
    """
    named = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
    unique = {id(parameter): parameter for _, parameter in named if parameter.requires_grad}
    if not unique:
        raise ValueError("there is no parameter to train")
    excluded = [each for each in unique.values() if exclude == "norm_and_bias" and each.ndim <= 1]
    regular = [each for each in unique.values() if exclude == "none" or each.ndim > 1]
    groups: list[dict[str, Any]] = []
    if regular:
        groups.append({"params": regular})
    if excluded:
        groups.append({"params": excluded, "weight_decay": 0.0, "adapt": False})
    return groups


def learning_rate(
    step: int, *, peak: float, final: float = 0.0, warmup_steps: int = 0, total_steps: int, schedule: Schedule = "cosine"
) -> float:
    """The rate of optimiser step `step`, counted from 0, in a run of `total_steps` (or the weight decay, which can fall or rise).

    Warm-up of W steps: peak · (step + 1) / W, so the first step already moves and step W - 1 has the peak. From there a half
    cosine that reaches `final` in the last step, T - 1; "constant" stays at the peak. Without warm-up step 0 has the peak.
    After the last step the last rate holds. A warm-up longer than the run is not compressed: it is cut off.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    start, last = max(warmup_steps - 1, 0), total_steps - 1
    if schedule == "constant" or (step <= start and last <= start):
        return peak
    progress = min((step - start) / (last - start), 1.0) if last > start else 1.0
    return final + (peak - final) * (1 + math.cos(math.pi * progress)) / 2


def build_optimizer(
    parameters: nn.Module | Iterable[tuple[str, nn.Parameter]],
    config: OptimConfig,
    total_steps: int,
    steps_per_epoch: float,
) -> OptimizerAndSchedule:
    """The optimiser that `config` describes, with its schedule at step 0; step the schedule after each optimiser step.

    total_steps and steps_per_epoch count optimiser steps; warm-up is round(warmup_epochs · steps_per_epoch) of them.
    """
    groups = parameter_groups(parameters, config.exclude)
    decayed = [number for number, group in enumerate(groups) if "weight_decay" not in group]
    optimizer = _optimizer(groups, config)
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)

    def factor(step: int) -> float:
        rate = learning_rate(
            step,
            peak=config.lr,
            final=config.final_lr,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
            schedule=config.schedule,
        )
        return rate / config.lr

    decay = None
    if config.final_weight_decay is not None:
        decay = partial(learning_rate, peak=config.weight_decay, final=config.final_weight_decay, total_steps=total_steps)
    scheduler = PerStep(optimizer, factor, decay, decayed)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def _optimizer(groups: list[dict[str, Any]], config: OptimConfig) -> Optimizer:
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "lars":
        return LARS(groups, momentum=config.momentum, eta=config.lars_eta, denominator=config.lars_denominator, **common)
    for group in groups:
        group.pop("adapt", None)
    # foreach, not fused: a fused step unscales fp16 gradients itself, which forbids clipping them.
    if config.name == "adamw":
        return AdamW(groups, betas=(config.momentum, config.beta2), foreach=True, **common)
    return SGD(groups, momentum=config.momentum, foreach=True, **common)
