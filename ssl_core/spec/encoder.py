"""Which network turns an image into a feature vector. Its dimension is derived from it, never configured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.arch_names import TORCHVISION, WS_RESNETS
from ssl_core.spec.base import Config, nearest


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

    @field_validator("arch")
    @classmethod
    def _known(cls, arch: str) -> str:
        # timm's own list needs torch to be read; ssl_core.preflight checks those names.
        if arch.startswith("timm/") and len(arch) > len("timm/"):
            return arch
        valid = [*TORCHVISION, *WS_RESNETS]
        if arch not in valid:
            raise PydanticCustomError(
                "unknown_arch",
                "unknown architecture '{arch}'; {hint} (any torchvision classifier, ws_resnet18 … ws_resnet152, or timm/<name>)",
                {"arch": arch, "hint": nearest(arch, valid)},
            )
        return arch
