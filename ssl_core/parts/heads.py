"""Projector and predictor: multilayer perceptrons of 0 to n layers."""

from __future__ import annotations

from torch import nn

from ssl_core.parts.batchrenorm import BatchRenorm1d
from ssl_core.parts.ws import WSLinear
from ssl_core.spec.parts import HeadConfig, NormName

GROUPS = 32
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


def build_head(config: HeadConfig, in_dim: int) -> nn.Sequential:
    """A network (N, in_dim) → (N, head_out_dim): (layers - 1) × [linear, norm, ReLU], then a linear layer and `final_norm`.

    The last linear layer has no ReLU and is never weight-standardised, which would fix the scale of the output. Where a batch
    norm follows it, it has no bias, which would be subtracted again. 0 layers: the identity. ReLU stands for `activation`.
    """
    linear = WSLinear if config.weight_standardization else nn.Linear
    modules: list[nn.Module] = []
    width = in_dim
    for _ in range(config.layers - 1):
        modules += [linear(width, config.hidden_dim), *_norm(config.norm, config.hidden_dim), _ACTIVATIONS[config.activation]()]
        width = config.hidden_dim
    if config.layers:
        modules.append(nn.Linear(width, config.out_dim, bias=config.final_norm is None))
    if config.layers and config.final_norm:
        modules.append(nn.BatchNorm1d(config.out_dim, affine=config.final_norm == "bn"))
    return nn.Sequential(*modules)


def head_out_dim(config: HeadConfig, in_dim: int) -> int:
    """The number of outputs of `build_head(config, in_dim)`."""
    return config.out_dim if config.layers else in_dim


def _norm(name: NormName | None, features: int) -> list[nn.Module]:
    if name is None:
        return []
    if name == "bn":
        return [nn.BatchNorm1d(features)]
    if name == "ln":
        return [nn.LayerNorm(features)]
    if name == "gn":
        return [nn.GroupNorm(GROUPS, features)]
    return [BatchRenorm1d(features)]
