"""Which network turns an image into a feature vector. Its dimension is derived from it, never configured."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.arch_names import TORCHVISION, WS_RESNETS
from ssl_core.spec.base import Config, nearest, shown
from ssl_core.spec.data import relative

PUBLISHED = ("timm", "torchvision")
_TIMM = re.compile(r"timm/[A-Za-z0-9._/-]{1,190}")
_ENCODER_ID = re.compile(r"enc_[0-9A-Za-z]{1,40}")


def is_encoder_id(name: str | None) -> bool:
    """Whether weights are named as an encoder of this service (enc_…), and not as a file or a library."""
    return name is not None and _ENCODER_ID.fullmatch(name) is not None


def known_arch(arch: str) -> str:
    """The name of an architecture, checked as far as it can be without torch. Raises PydanticCustomError."""
    # timm's own list needs torch to be read; ssl_core.preflight checks those names.
    if _TIMM.fullmatch(arch):
        return arch
    valid = [*TORCHVISION, *WS_RESNETS]
    if arch not in valid:
        raise PydanticCustomError(
            "unknown_arch",
            "unknown architecture '{arch}'; {hint} (any torchvision classifier, ws_resnet18 … ws_resnet152, or timm/<name>)",
            {"arch": shown(arch), "hint": nearest(shown(arch), valid)},
        )
    return arch


def weights_name(name: str | None) -> str | None:
    """Where weights are from: None, a library, an encoder, or a path, checked as text. Raises PydanticCustomError."""
    return name if name is None or name in PUBLISHED or is_encoder_id(name) else relative(name)


class EncoderConfig(Config):
    """The backbone. The classifier at its end is always removed; the pooled feature before it is the embedding."""

    arch: str = Field(
        "resnet18",
        description="A torchvision classifier by name, ws_resnet18 … ws_resnet152 (weight standardisation), or timm/<name>.",
        examples=["resnet18", "ws_resnet50", "timm/vit_tiny_patch16_224"],
    )
    stem: Literal["auto", "imagenet", "cifar"] = Field(
        "auto",
        description="ResNets only. imagenet: 7×7 stride 2 and max-pool; cifar: 3×3 stride 1 padding 1, no max-pool; "
        "auto: cifar for inputs of 64 px or less.",
    )
    weights: str | None = Field(
        None,
        description="What to continue from; null: random weights. enc_…: an encoder of this service, from which arch, stem and "
        "the data's size, mean and std are taken where they are left open. A path below the data root: a safetensors file, or "
        "PyTorch's with a state dict. timm or torchvision: what they publish for this arch, downloaded when training begins.",
        examples=["enc_019ad3b0", "weights/resnet18.safetensors"],
    )

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        return known_arch(arch)

    @field_validator("weights")
    @classmethod
    def _below_the_root(cls, weights: str | None) -> str | None:
        return weights_name(weights)

    @model_validator(mode="after")
    def _published_by(self) -> EncoderConfig:
        if self.weights in PUBLISHED and (self.weights == "timm") != self.arch.startswith("timm/"):
            right = "an arch timm/<name>" if self.weights == "timm" else "weights 'timm'"
            raise PydanticCustomError(
                "weights",
                "weights = '{weights}' has none for arch = '{arch}': use {right}, or the path of a file",
                {"weights": self.weights, "arch": self.arch, "right": right, "at": "weights"},
            )
        if self.weights == "torchvision" and self.arch in WS_RESNETS:
            raise PydanticCustomError(
                "weights",
                "torchvision publishes no weights for {arch}: use its plain form, or the path of a file",
                {"arch": self.arch, "at": "weights"},
            )
        return self
