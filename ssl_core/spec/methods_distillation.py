"""The config of distillation: which teacher a small encoder learns from, and what of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.encoder import PUBLISHED, is_encoder_id, known_arch, weights_name
from ssl_core.spec.parts import BranchesConfig, HeadConfig, MethodBase

Triple = tuple[float, float, float]
_OF_FILES = ("teacher_arch", "teacher_size", "teacher_mean", "teacher_std")


class DistillConfig(MethodBase):
    """Say of each view what a frozen teacher says of the same view (Hinton et al. 2015; SEED: Fang et al. 2021).

    The last head's out_dim is not used: it is the width of the teacher's features.
    """

    name: Literal["distill"] = "distill"
    branches: BranchesConfig = BranchesConfig(projector=HeadConfig(layers=2, hidden_dim=2048, norm="bn"), target="shared")
    teacher: str | None = Field(
        None,
        description="Required. enc_…: an encoder of this service (or its job, job_…). A path below the data root: a safetensors "
        "file, or PyTorch's with a state dict, of teacher_arch. timm or torchvision: what they publish for teacher_arch.",
        examples=["enc_019ad3b0", "weights/resnet50.safetensors"],
    )
    teacher_arch: str | None = Field(
        None,
        description="The teacher's network where weights alone are given: a torchvision classifier, ws_resnet18 … ws_resnet152, "
        "or timm/<name>. An encoder of this service knows its own.",
        examples=["resnet50", "timm/vit_small_patch16_224"],
    )
    teacher_size: int | None = Field(
        None,
        ge=8,
        le=1024,
        description="With teacher_arch: side of its images, in pixels. Default: timm's, else 224.",
    )
    teacher_mean: Triple | None = Field(None, description="With teacher_arch: of its images. Default: timm's, else ImageNet's.")
    teacher_std: Triple | None = Field(None, description="With teacher_arch: of its images. Default: timm's, else ImageNet's.")
    loss: Literal["cosine", "similarity"] = Field(
        "cosine",
        description="cosine: 1 - cosine of the student's output and the teacher's features, half their squared distance on the "
        "sphere. similarity: cross-entropy between how alike both find past features of the teacher (SEED).",
    )
    centre: Literal["running", "off"] = Field(
        "running",
        description="running: the running mean of the teacher's features is taken off them, so that cosines tell images apart "
        "(features after a ReLU are all positive, and alike). off: the features as they are.",
    )
    temperature: float = Field(0.2, gt=0, le=10, description="similarity only: divides the student's similarities.")
    teacher_temperature: float = Field(0.01, gt=0, le=10, description="similarity only: divides the teacher's similarities.")
    past_features: int = Field(4096, ge=1, le=2**22, description="similarity only: past features of the teacher that are kept.")

    @field_validator("teacher_arch")
    @classmethod
    def _known(cls, arch: str | None) -> str | None:
        return None if arch is None else known_arch(arch)

    @field_validator("teacher")
    @classmethod
    def _below_the_root(cls, teacher: str | None) -> str | None:
        return weights_name(teacher)

    @field_validator("teacher_std")
    @classmethod
    def _positive(cls, std: Triple | None) -> Triple | None:
        if std is not None and min(std) <= 0:
            raise PydanticCustomError("std", "must be above 0 in every channel", {})
        return std

    @model_validator(mode="after")
    def _teacher_is_whole(self) -> DistillConfig:
        teacher, arch = self.teacher, self.teacher_arch
        own = teacher is None or is_encoder_id(teacher) or teacher.startswith("job_")
        if not own and arch is None:
            raise PydanticCustomError(
                "teacher",
                "is required where method.teacher = '{teacher}' gives weights alone: name the network that they belong to, "
                "such as 'resnet50' or 'timm/vit_small_patch16_224'",
                {"teacher": teacher, "at": "teacher_arch"},
            )
        for field in _OF_FILES if own and teacher is not None else ():
            if getattr(self, field) is not None:
                raise PydanticCustomError(
                    "teacher",
                    "is for weights without a manifest, and the encoder {teacher} has one: leave it out",
                    {"teacher": teacher, "at": field},
                )
        if teacher in PUBLISHED and (teacher == "timm") != str(arch).startswith("timm/"):
            raise PydanticCustomError(
                "teacher",
                "teacher = '{teacher}' publishes nothing for teacher_arch = '{arch}'; 'timm' does for timm/<name>, 'torchvision' "
                "for its own names",
                {"teacher": teacher, "arch": arch, "at": "teacher"},
            )
        return self

    @model_validator(mode="after")
    def _one_student_on_the_sphere(self) -> DistillConfig:
        for field, given, right in (("target", self.branches.target, "shared"), ("normalize", self.branches.normalize, True)):
            if given != right:
                raise PydanticCustomError(
                    "branches",
                    "branches.{field} = {given}; distillation has one network that learns, whose outputs are compared with the "
                    "teacher's by their cosine: use {right}",
                    {"field": field, "given": str(given).lower(), "right": str(right).lower(), "at": f"branches/{field}"},
                )
        return self
