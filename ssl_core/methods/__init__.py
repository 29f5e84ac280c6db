"""The methods, by the names that a spec gives them. A new one is a file here, a config in the spec, and a line below."""

from __future__ import annotations

from torch import nn

from ssl_core.methods.base import Method
from ssl_core.methods.byol import BYOL
from ssl_core.methods.lejepa import LeJEPA
from ssl_core.methods.moco import MoCo
from ssl_core.methods.simclr import SimCLR
from ssl_core.methods.vicreg import VICReg
from ssl_core.spec.methods import MethodConfig
from ssl_core.spec.training import OptimConfig

METHODS: dict[str, type[Method]] = {"moco": MoCo, "simclr": SimCLR, "byol": BYOL, "vicreg": VICReg, "lejepa": LeJEPA}


def build_method(encoder: nn.Module, feature_dim: int, config: MethodConfig, optim: OptimConfig) -> Method:
    """The method that `config` names, on `encoder`: (N, 3, S, S) → (N, feature_dim)."""
    return METHODS[config.name](encoder, feature_dim, config, optim)


__all__ = ["BYOL", "METHODS", "LeJEPA", "Method", "MoCo", "SimCLR", "VICReg", "build_method"]
