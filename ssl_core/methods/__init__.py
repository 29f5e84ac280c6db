"""The methods, by the names that a spec gives them. A new one is a file here, a config in the spec, and a line below."""

from __future__ import annotations

from torch import nn

from ssl_core.methods.barlow_twins import BarlowTwins
from ssl_core.methods.base import Method
from ssl_core.methods.byol import BYOL
from ssl_core.methods.dino import DINO
from ssl_core.methods.distill import Distill
from ssl_core.methods.lejepa import LeJEPA
from ssl_core.methods.mae import MAE
from ssl_core.methods.moco import MoCo
from ssl_core.methods.mocov3 import MoCoV3
from ssl_core.methods.nnclr import NNCLR
from ssl_core.methods.simclr import SimCLR
from ssl_core.methods.simsiam import SimSiam
from ssl_core.methods.swav import SwAV
from ssl_core.methods.vicreg import VICReg
from ssl_core.parts.teacher import Teacher
from ssl_core.spec.methods import MethodConfig
from ssl_core.spec.methods_distillation import DistillConfig
from ssl_core.spec.training import OptimConfig

METHODS: dict[str, type[Method]] = {
    "moco": MoCo,
    "simclr": SimCLR,
    "byol": BYOL,
    "vicreg": VICReg,
    "simsiam": SimSiam,
    "barlow_twins": BarlowTwins,
    "nnclr": NNCLR,
    "swav": SwAV,
    "dino": DINO,
    "mocov3": MoCoV3,
    "lejepa": LeJEPA,
    "mae": MAE,
    "distill": Distill,
}


def build_method(
    encoder: nn.Module, feature_dim: int, config: MethodConfig, optim: OptimConfig, teacher: Teacher | None = None
) -> Method:
    """The method that `config` names, on `encoder`: (N, 3, S, S) → (N, feature_dim). teacher: whom `distill` learns from."""
    if isinstance(config, DistillConfig):
        if teacher is None:
            raise ValueError("method.teacher: distill needs a teacher, and there is none")
        return Distill(encoder, feature_dim, config, optim, teacher)
    return METHODS[config.name](encoder, feature_dim, config, optim)


__all__ = [
    "BYOL",
    "DINO",
    "MAE",
    "METHODS",
    "NNCLR",
    "BarlowTwins",
    "Distill",
    "LeJEPA",
    "Method",
    "MoCo",
    "MoCoV3",
    "SimCLR",
    "SimSiam",
    "SwAV",
    "VICReg",
    "build_method",
]
