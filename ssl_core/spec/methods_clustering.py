"""The configs of SwAV and DINO, which compare views by how they lie to learned prototypes, and of MoCo v3."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.parts import BranchesConfig, HeadConfig, MethodBase


class SwAVConfig(MethodBase):
    """Predict one view's assignment to prototypes from the other; assignments share the prototypes out (Caron et al. 2020)."""

    name: Literal["swav"] = "swav"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=2, hidden_dim=2048, out_dim=128, norm="bn"), target="shared"
    )
    prototypes: int = Field(3000, ge=2, le=2**20, description="K, some ten times the number of kinds of images expected.")
    temperature: float = Field(0.1, gt=0, le=10, description="Divides the similarities with the prototypes.")
    epsilon: float = Field(0.05, gt=0, le=10, description="Sinkhorn-Knopp's: the smaller, the harder the assignments.")
    sinkhorn_iterations: int = Field(3, ge=1, le=100, description="How often rows and columns are normalised in turn.")
    queue_size: int = Field(
        0,
        ge=0,
        le=2**22,
        description="Projections of past images, over all ranks, that are assigned beside a small batch; 0: none.",
    )
    queue_start_epochs: float = Field(
        15.0, ge=0, description="Epochs before the queue is used; it is filled from the first step."
    )
    freeze_prototypes_epochs: float = Field(1.0, ge=0, description="Epochs in which the prototypes do not move.")

    @model_validator(mode="after")
    def _unit_vectors(self) -> SwAVConfig:
        if self.branches.target != "shared":
            raise _wrong("target", f"'{self.branches.target}'", "SwAV has one network: use 'shared'")
        _on_the_sphere(self.branches)
        return self


class DINOConfig(MethodBase):
    """Self-distillation: predict the teacher's assignment to prototypes from another view (Caron et al. 2021)."""

    name: Literal["dino"] = "dino"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=256, activation="gelu"),
        momentum=0.996,
        momentum_schedule="cosine",
    )
    prototypes: int = Field(65536, ge=2, le=2**20, description="K, the number of outputs.")
    student_temperature: float = Field(0.1, gt=0, le=10, description="Divides the student's outputs before their softmax.")
    teacher_temperature: float = Field(0.04, gt=0, le=10, description="After its warm-up; above 0.07 training becomes unstable.")
    teacher_temperature_start: float = Field(0.04, gt=0, le=10, description="In the first step; from there it rises in a line.")
    teacher_warmup_epochs: float = Field(0.0, ge=0, description="Epochs in which the teacher's temperature rises, per step.")
    center_momentum: float = Field(
        0.9, ge=0, le=1, description="centre = m·centre + (1 - m)·mean of the teacher's outputs. 1: no centring, which collapses."
    )
    freeze_prototypes_epochs: float = Field(1.0, ge=0, description="Epochs in which the last layer does not move.")

    @model_validator(mode="after")
    def _teacher(self) -> DINOConfig:
        if self.branches.target != "ema":
            raise _wrong("target", f"'{self.branches.target}'", "DINO's teacher is a moving average: use 'ema'")
        if self.branches.predictor.layers:
            raise _wrong("predictor/layers", str(self.branches.predictor.layers), "DINO has no predictor: use 0")
        _on_the_sphere(self.branches)
        return self


class MoCoV3Config(MethodBase):
    """Momentum contrast without a queue: negatives from the batch, a predictor, vision transformers (Chen et al. 2021)."""

    name: Literal["mocov3"] = "mocov3"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=4096, out_dim=256, norm="bn", final_norm="bn_plain"),
        predictor=HeadConfig(layers=2, hidden_dim=4096, out_dim=256, norm="bn", final_norm="bn_plain"),
        momentum=0.99,
        momentum_schedule="cosine",
    )
    temperature: float = Field(0.2, gt=0, le=10, description="τ, which also scales the loss: 2τ·cross-entropy(similarities / τ).")
    patch_projection: Literal["trained", "frozen"] = Field(
        "trained",
        description="frozen: a vision transformer's patches are projected by the random weights of the start, "
        "which keeps training stable. Of no other network.",
    )

    @model_validator(mode="after")
    def _compares_with_a_target(self) -> MoCoV3Config:
        if self.branches.target != "ema":
            raise _wrong("target", f"'{self.branches.target}'", "MoCo's keys are a moving average's: use 'ema'")
        return self


def _on_the_sphere(branches: BranchesConfig) -> None:
    if not branches.normalize:
        raise _wrong("normalize", "false", "prototypes are compared with unit vectors: use true")


def _wrong(field: str, given: str, right: str) -> PydanticCustomError:
    return PydanticCustomError(
        "branches",
        "branches.{field} = {given}; {right}",
        {"field": field.replace("/", "."), "given": given, "right": right, "at": f"branches/{field}"},
    )
