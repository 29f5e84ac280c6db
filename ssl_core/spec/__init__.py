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
from ssl_core.spec.methods_clustering import DINOConfig, MoCoV3Config, SwAVConfig
from ssl_core.spec.methods_distillation import DistillConfig
from ssl_core.spec.methods_reconstruction import LeJEPAConfig, MAEConfig
from ssl_core.spec.methods_siamese import BarlowTwinsConfig, NNCLRConfig, SimSiamConfig
from ssl_core.spec.parts import IDENTITY, BranchesConfig, ContrastLossConfig, HeadConfig
from ssl_core.spec.patches import PATCHED, resizable_patch, takes_one_size
from ssl_core.spec.training import EarlyStopConfig, EvaluateConfig, OptimConfig, TrainerConfig

# Parts of pydantic's locations that are not in the document: the chosen member of a union.
TAGS = frozenset({*METHOD_NAMES, *SOURCES, "int", "constrained-int", "literal['auto']"})


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
        if isinstance(self.method, MAEConfig):
            raise PydanticCustomError(
                "local_views",
                "{given}: mae looks at one view, most of which it does not see; use 0",
                {"given": given, "at": "augment/local_views/count"},
            )
        if isinstance(self.method, VICRegConfig | BarlowTwinsConfig):
            raise PydanticCustomError(
                "local_views",
                "{given}: {method} compares two whole batches and has no use for local views; "
                "use 0, or the method moco, simclr or byol",
                {"given": given, "method": self.method.name, "at": "augment/local_views/count"},
            )
        if takes_one_size(arch):
            raise PydanticCustomError(
                "local_views",
                "{given}: {arch} takes images of one size only, and local views are smaller; "
                "use 0, a convolutional network, or a vision transformer of timm (timm/vit_small_patch16_224)",
                {"given": given, "arch": arch, "at": "augment/local_views/count"},
            )
        if (patch := resizable_patch(arch)) and local.size and local.size % patch:
            below, above = local.size // patch * patch, (local.size // patch + 1) * patch
            raise PydanticCustomError(
                "local_views",
                "augment.local_views.size = {local} is not a multiple of the {patch} px patches of {arch}; use {near}",
                {
                    "local": local.size,
                    "patch": patch,
                    "arch": arch,
                    "near": f"{below} or {above}" if below else above,
                    "at": "augment/local_views/size",
                },
            )
        if size is not None and (side := local.side(size, patch or 8)) > size:
            raise PydanticCustomError(
                "local_views",
                "augment.local_views.size = {local} is larger than data.size = {size}; use at most that",
                {"local": side, "size": size, "at": "augment/local_views/size"},
            )
        return self

    @model_validator(mode="after")
    def _patches_to_freeze(self) -> TrainSpec:
        method, arch = self.method, self.encoder.arch
        if isinstance(method, MoCoV3Config) and method.patch_projection == "frozen" and not arch.startswith(PATCHED):
            raise PydanticCustomError(
                "patch_projection",
                "method.patch_projection = 'frozen': {arch} has no patches; use 'trained', or a vision transformer",
                {"arch": arch, "at": "method/patch_projection"},
            )
        return self

    @model_validator(mode="after")
    def _patches_to_hide(self) -> TrainSpec:
        """MAE hides patches from a plain vision transformer of timm's."""
        if not isinstance(self.method, MAEConfig):
            return self
        arch, size, patch = self.encoder.arch, self.data.size, resizable_patch(self.encoder.arch)
        if patch is None:
            raise PydanticCustomError(
                "hidden_patches",
                "encoder.arch = '{arch}': mae hides patches from a plain vision transformer; use timm/vit_… or timm/deit… "
                "(timm/vit_small_patch16_224), or another method",
                {"arch": arch, "at": "encoder/arch"},
            )
        if self.encoder.weights is not None and self.method.positions == "sincos":
            raise PydanticCustomError(
                "hidden_patches",
                "method.positions = 'sincos' would replace those of encoder.weights = '{weights}'; use 'learned'",
                {"weights": self.encoder.weights, "at": "method/positions"},
            )
        if size is not None and (size % patch or size < 2 * patch):
            below, above = max(size // patch, 2) * patch, max(size // patch + 1, 2) * patch
            raise PydanticCustomError(
                "hidden_patches",
                "data.size = {size}: mae needs images of several whole patches of {patch} px; use {near}",
                {"size": size, "patch": patch, "near": f"{below} or {above}" if below < above else above, "at": "data/size"},
            )
        return self

    def with_local_side(self) -> TrainSpec:
        """The side of local views written down, once data.size is known: what `make_views` need not ask the network for."""
        local, size = self.augment.local_views, self.data.size
        if not local.count or local.size or size is None:
            return self
        side = local.side(size, resizable_patch(self.encoder.arch) or 8)
        local_views = {**local.model_dump(), "size": side}
        return self.changed(augment={**self.augment.model_dump(), "local_views": local_views})


def explain_all(error: ValidationError) -> list[tuple[str, str]]:
    """Every problem of a spec as (JSON pointer, sentence)."""
    return [explain(each, TAGS) for each in error.errors(include_url=False)]


__all__ = [
    "IDENTITY",
    "METHOD_NAMES",
    "SOURCES",
    "AugmentConfig",
    "BYOLConfig",
    "BarlowTwinsConfig",
    "BranchesConfig",
    "Cifar10Data",
    "Config",
    "ContrastLossConfig",
    "DINOConfig",
    "DataConfig",
    "DatasetData",
    "DigitsData",
    "DistillConfig",
    "EarlyStopConfig",
    "EncoderConfig",
    "EvaluateConfig",
    "FolderData",
    "HeadConfig",
    "ImageNetData",
    "LeJEPAConfig",
    "LocalViewsConfig",
    "MAEConfig",
    "MethodConfig",
    "MoCoConfig",
    "MoCoV3Config",
    "NNCLRConfig",
    "OptimConfig",
    "SimCLRConfig",
    "SimSiamConfig",
    "Stl10Data",
    "SwAVConfig",
    "TrainSpec",
    "TrainerConfig",
    "VICRegConfig",
    "ValidationError",
    "ViewConfig",
    "explain_all",
    "nearest",
]
