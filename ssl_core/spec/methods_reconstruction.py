"""The config of LeJEPA, which gives features the shape of a Gaussian instead of comparing images with others."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.parts import BranchesConfig, HeadConfig, MethodBase


class LeJEPAConfig(MethodBase):
    """Views agree, and their outputs have the distribution of an isotropic Gaussian (Balestriero and LeCun 2025)."""

    name: Literal["lejepa"] = "lejepa"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=64, norm="bn"), target="shared", normalize=False
    )
    sigreg_weight: float = Field(0.05, ge=0, le=1, description="λ: the loss is λ·SIGReg + (1 - λ)·invariance.")
    slices: int = Field(1024, ge=1, le=2**16, description="Random directions, new ones in each step.")
    knots: int = Field(17, ge=2, le=1024, description="Points at which characteristic functions are compared, 0 to t_max.")
    t_max: float = Field(3.0, gt=0, le=100)

    @model_validator(mode="after")
    def _one_network(self) -> LeJEPAConfig:
        for field, given, right in (("target", self.branches.target, "shared"), ("normalize", self.branches.normalize, False)):
            if given != right:
                raise PydanticCustomError(
                    "branches",
                    "branches.{field} = {given}; LeJEPA has one network, whose outputs are to be a Gaussian: use {right}",
                    {"field": field, "given": str(given), "right": str(right).lower(), "at": f"branches/{field}"},
                )
        return self
