"""The configs of methods that compare no image with another: LeJEPA gives features the shape of a Gaussian, MAE fills gaps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.parts import IDENTITY, BranchesConfig, HeadConfig, MethodBase


class LeJEPAConfig(MethodBase):
    """Views agree, and their outputs have the distribution of an isotropic Gaussian (Balestriero and LeCun 2025)."""

    name: Literal["lejepa"] = "lejepa"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=64, norm="bn"), target="shared", normalize=False
    )
    sigreg_weight: float = Field(0.05, ge=0, le=1, description="λ: the loss is λ·SIGReg + (1 - λ)·invariance.")
    slices: int = Field(1024, ge=1, le=2**16, description="Random directions, new ones in each step.")
    knots: int = Field(17, ge=2, le=1024, description="Points at which characteristic functions are compared, 0 to t_max.")
    t_max: float = Field(3.0, gt=0, le=100, description="Up to where characteristic functions are compared.")

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


_NO_HEADS = BranchesConfig(projector=IDENTITY, target="shared")


class MAEConfig(MethodBase):
    """Most patches are hidden, and a small decoder guesses their pixels from what a vision transformer saw (He et al. 2021)."""

    name: Literal["mae"] = "mae"
    branches: BranchesConfig = Field(_NO_HEADS, description="Of no use here: features are not compared. Leave it out.")
    mask_ratio: float = Field(
        0.75, gt=0, lt=1, description="Share of the patches that are hidden; at least one is, and one is not."
    )
    normalize_pixels: bool = Field(
        True, description="Guess pixels less the mean of their patch, over their standard deviation in it; false: as they are."
    )
    positions: Literal["sincos", "learned"] = Field(
        "sincos",
        description="Of the encoder's patches. sincos: sines and cosines, which are not trained, as in the paper. "
        "learned: those that the network has, trained with it; to go on from encoder.weights.",
    )
    decoder_depth: int = Field(8, ge=1, le=48, description="Transformer blocks of the decoder, which is not served.")
    decoder_width: int = Field(512, ge=4, le=8192, multiple_of=4, description="Numbers in each of its tokens.")
    decoder_heads: int = Field(16, ge=1, le=256, description="Of its attention; they divide its width.")

    @model_validator(mode="after")
    def _decoder_divides(self) -> MAEConfig:
        if self.decoder_width % self.decoder_heads:
            raise PydanticCustomError(
                "decoder_heads",
                "decoder_heads = {heads} must divide decoder_width = {width}: each head has an equal part",
                {"heads": self.decoder_heads, "width": self.decoder_width, "at": "decoder_heads"},
            )
        if self.branches != _NO_HEADS:
            raise PydanticCustomError(
                "branches",
                "branches = {given}: MAE has neither heads nor a target network; leave branches out",
                {"given": str(self.branches.model_dump(exclude_unset=True)), "at": "branches"},
            )
        return self
