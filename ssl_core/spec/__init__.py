"""TrainSpec: everything that defines one pretraining run, validated without importing torch.

A spec is data + encoder + method + augment + optim + trainer + evaluate. `ssl_core.presets.complete` fills what a user left
open; `ssl_core.preflight.check` looks at the data itself.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.augment import AugmentConfig, LocalViewsConfig, ViewConfig
from ssl_core.spec.base import Config, ValidationError, explain, nearest
from ssl_core.spec.data import (
    SOURCES,
    Cifar10Data,
    DataConfig,
    DatasetData,
    DigitsData,
    FolderData,
    ImageNetData,
    Stl10Data,
)
from ssl_core.spec.encoder import EncoderConfig
from ssl_core.spec.methods import METHOD_NAMES, BYOLConfig, MethodConfig, MoCoConfig, SimCLRConfig, VICRegConfig
from ssl_core.spec.methods_reconstruction import LeJEPAConfig
from ssl_core.spec.parts import IDENTITY, BranchesConfig, ContrastLossConfig, HeadConfig
from ssl_core.spec.training import EvaluateConfig, OptimConfig, TrainerConfig

# Parts of pydantic's locations that are not in the document: the chosen member of a union.
TAGS = frozenset({*METHOD_NAMES, *SOURCES, "int", "constrained-int", "literal['auto']"})

# Architectures that are built for one size of image: torchvision's, and timm's best-known families (preflight tries the rest).
ONE_SIZE = ("vit_", "maxvit_", "timm/vit_", "timm/deit", "timm/beit", "timm/eva", "timm/swin")


class TrainSpec(Config):
    """One pretraining run, complete."""

    data: DataConfig = Field(description="Where the pictures come from.")
    encoder: EncoderConfig = EncoderConfig()
    method: MethodConfig = Field(default_factory=SimCLRConfig)
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="before")
    @classmethod
    def _known_names(cls, value: Any) -> Any:
        """Pydantic's own message for an unknown discriminator lists tags; ours names the nearest."""
        if isinstance(value, dict):
            data = value.get("data")
            if isinstance(data, dict) and not isinstance(data.get("source"), str):
                raise PydanticCustomError(
                    "unknown_data",
                    "{what}; valid: {valid}",
                    {
                        "at": "data/source",
                        "what": f"source = {data['source']!r} is not a name" if "source" in data else "source is missing",
                        "valid": ", ".join(SOURCES),
                    },
                )
            for field, key, valid in (("method", "name", METHOD_NAMES), ("data", "source", SOURCES)):
                section = value.get(field)
                if isinstance(section, dict) and isinstance(section.get(key), str) and section[key] not in valid:
                    raise PydanticCustomError(
                        f"unknown_{field}",
                        "{field}.{key} = '{given}' is not known; {hint}",
                        {
                            "field": field,
                            "key": key,
                            "at": f"{field}/{key}",
                            "given": section[key],
                            "hint": nearest(section[key], list(valid)),
                        },
                    )
        return value

    @model_validator(mode="after")
    def _parts_are_equal(self) -> TrainSpec:
        if self.trainer.accumulate > 1 and not self.data.drop_last:
            raise PydanticCustomError(
                "accumulate",
                "trainer.accumulate = {given} needs batches of one size, and with data.drop_last off the last may be smaller; "
                "leave one of them out",
                {"given": self.trainer.accumulate, "at": "trainer/accumulate"},
            )
        return self

    @model_validator(mode="after")
    def _local_views_fit(self) -> TrainSpec:
        """Local views are for methods that compare queries with keys, and for networks that take two sizes."""
        local, arch, size = self.augment.local_views, self.encoder.arch, self.data.size
        if local.count == 0:
            return self
        given = f"augment.local_views.count = {local.count}"
        if isinstance(self.method, VICRegConfig):
            raise PydanticCustomError(
                "local_views",
                "{given}: vicreg compares two whole batches and has no use for local views; "
                "use 0, or the method moco, simclr or byol",
                {"given": given, "at": "augment/local_views/count"},
            )
        if arch.startswith(ONE_SIZE):
            raise PydanticCustomError(
                "local_views",
                "{given}: {arch} takes images of one size only, and local views are smaller; use 0, or a convolutional network",
                {"given": given, "arch": arch, "at": "augment/local_views/count"},
            )
        if size is not None and local.side(size) > size:
            raise PydanticCustomError(
                "local_views",
                "augment.local_views.size = {local} is larger than data.size = {size}; use at most that",
                {"local": local.side(size), "size": size, "at": "augment/local_views/size"},
            )
        return self


def explain_all(error: ValidationError) -> list[tuple[str, str]]:
    """Every problem of a spec as (JSON pointer, sentence)."""
    return [explain(each, TAGS) for each in error.errors(include_url=False)]


__all__ = [
    "IDENTITY",
    "METHOD_NAMES",
    "SOURCES",
    "AugmentConfig",
    "BYOLConfig",
    "BranchesConfig",
    "Cifar10Data",
    "Config",
    "ContrastLossConfig",
    "DataConfig",
    "DatasetData",
    "DigitsData",
    "EncoderConfig",
    "EvaluateConfig",
    "FolderData",
    "HeadConfig",
    "ImageNetData",
    "LeJEPAConfig",
    "LocalViewsConfig",
    "MethodConfig",
    "MoCoConfig",
    "OptimConfig",
    "SimCLRConfig",
    "Stl10Data",
    "TrainSpec",
    "TrainerConfig",
    "VICRegConfig",
    "ValidationError",
    "ViewConfig",
    "explain_all",
    "nearest",
]
