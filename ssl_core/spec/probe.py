"""LinearProbeSpec and FinetuneSpec: everything that defines one measurement of a finished encoder, validated without torch.

`protocol` names whose values fill what is left open; PROTOCOLS is the one literal dict of them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.base import Config
from ssl_core.spec.data import DataConfig, relative

Augment = Literal["none", "crop", "crop_flip"]
Schedule = Literal["steps", "cosine", "constant"]
Optimizer = Literal["sgd", "nesterov", "adamw"]

_SGD = {"solver": "sgd", "features": "raw", "augment": "crop_flip", "batch_size": 256, "momentum": 0.9, "weight_decay": 0.0}
_LBFGS = {"solver": "lbfgs", "features": "standardised", "augment": "none", "epochs": 300, "lr": 1.0}
_TUNED = {"augment": "crop_flip", "batch_size": 256, "schedule": "cosine", "momentum": 0.9}
PROTOCOLS: dict[str, dict[str, dict[str, Any]]] = {
    "linear_probe": {
        # ours: scikit-learn's LogisticRegression at its defaults, on a GPU too
        "lbfgs": {**_LBFGS, "batch_size": 256, "momentum": 0.0, "weight_decay": 0.0, "schedule": "constant"},
        # He et al. 2019 (arXiv:1911.05722), section 4.1, and the reference implementation's linear stage
        "moco": {**_SGD, "optimizer": "sgd", "lr": 30.0, "epochs": 100, "schedule": "steps"},
        # Chen et al. 2020 (arXiv:2002.05709), appendix B.6: 0.1 for 256 images
        "simclr": {**_SGD, "optimizer": "nesterov", "lr": 0.1, "epochs": 90, "schedule": "cosine"},
    },
    "finetune": {
        # Chen et al. 2020 (arXiv:2002.05709), appendix B.5: 0.05 for 256 images; 60 epochs of 1 %, 30 of 10 % of the labels
        "simclr": {**_TUNED, "optimizer": "nesterov", "lr": 0.05, "weight_decay": 0.0, "warmup_epochs": 0.0, "epochs": 30},
        # He et al. 2021 (arXiv:2111.06377), table 9, without layer-wise decay and mixing
        "adamw": {**_TUNED, "optimizer": "adamw", "lr": 5e-4, "weight_decay": 0.05, "warmup_epochs": 5.0, "epochs": 50},
    },
}
FEW_LABELS, EPOCHS_OF_FEW = 0.01, 60


class MeasureSpec(Config):
    """What a linear probe and finetuning have in common. Fields that are left open have the protocol's values."""

    encoder: str = Field(min_length=1, max_length=200, description="The encoder's id; the trainer is told where its files lie.")
    data: DataConfig = Field(
        description="Labelled pictures: class folders, or a folder with a label_file; digits, cifar10, stl10, imagenet. train/ "
        "beside test/ (or val/) is the split; else data.held_out of each class is held out. How pictures are prepared is the "
        "encoder's own affair: size, mean and std given here are not used."
    )
    label_file: str | None = Field(
        None,
        max_length=1000,
        description="A CSV file below the data root with the header path,label; paths are relative to data.path. Pictures "
        "that it does not name are left out. Default: class folders.",
    )
    label_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of each class's labels to learn from, such as 0.01: at least one picture of each."
    )
    augment: Augment = Field(
        description="none: pictures as POST /embed sees them. crop: random resized crops (8 to 100 % of the area). crop_flip: "
        "horizontal flips too."
    )
    epochs: int = Field(ge=1, le=10_000, description="Of solver lbfgs: at most so many iterations.")
    batch_size: int = Field(ge=2, le=65536, description="Of sgd; lr is not rescaled by it.")
    lr: float = Field(gt=0, le=1000, description="Peak learning rate. Not of lbfgs.")
    momentum: float = Field(ge=0, lt=1, description="Of sgd and nesterov; the first beta of adamw.")
    weight_decay: float = Field(ge=0, le=1, description="Not of norms and biases. Not of lbfgs.")
    schedule: Schedule = Field(description="steps: a tenth from 60 % and a hundredth from 80 % of the steps on. Per step.")
    seed: int = Field(
        0, ge=0, lt=2**31, description="Of everything random: held-out pictures, chosen labels, first weights, order, crops."
    )
    checkpoint_every_seconds: float = Field(60.0, gt=0, description="At most this much work is repeated after a crash.")

    @field_validator("label_file")
    @classmethod
    def _below(cls, value: str | None) -> str | None:
        return None if value is None else relative(value)

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, value: Any) -> Any:
        """The protocol's values under those that are given."""
        if not isinstance(value, dict):
            return value
        kind = cls.model_fields["kind"].default
        name = value.get("protocol", cls.model_fields["protocol"].default)
        known = PROTOCOLS[kind].get(name, {}) if isinstance(name, str) else {}
        filled = {**(known or next(iter(PROTOCOLS[kind].values()))), **value}
        data = value.get("data")
        if "augment" not in value and isinstance(data, dict) and data.get("source") == "digits":
            filled["augment"] = "none"  # what is left of a digit in a small crop is another digit
        return cls._of_fraction(filled, value)

    @classmethod
    def _of_fraction(cls, filled: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        return filled

    @model_validator(mode="after")
    def _files_have_names(self) -> MeasureSpec:
        if self.label_file is not None and self.data.source not in ("folder", "imagenet", "dataset"):
            raise PydanticCustomError(
                "label_file",
                "label_file names pictures by their paths, and {source} has its own labels; leave it out",
                {"source": self.data.source, "at": "label_file"},
            )
        return self

    def settings(self) -> dict[str, Any]:
        """What makes two measurements comparable on the same data: everything but the encoder, the data and the seed."""
        held_out = getattr(self.data, "held_out", None)
        left_out = {"encoder", "data", "seed", "label_file", "checkpoint_every_seconds"}
        return {**self.model_dump(mode="json", exclude=left_out), "held_out": held_out}


class LinearProbeSpec(MeasureSpec):
    """A linear classifier on an encoder's frozen features, complete."""

    kind: Literal["linear_probe"] = "linear_probe"
    protocol: Literal["lbfgs", "moco", "simclr"] = Field(
        "lbfgs",
        description="lbfgs: a logistic regression on the features that POST /embed gives, deterministic, in seconds. moco: SGD "
        "with lr 30 on cropped and flipped pictures, as MoCo and the reference implementation. simclr: SGD with lr 0.1.",
    )
    solver: Literal["sgd", "lbfgs"] = Field(description="lbfgs takes all features at once.")
    features: Literal["raw", "standardised"] = Field(
        description="standardised: mean 0 and standard deviation 1 in every dimension, by the pictures to learn from."
    )
    optimizer: Literal["sgd", "nesterov"] = Field("sgd", description="Of solver sgd.")
    l2: float = Field(1.0, ge=0, le=1e9, description="Of solver lbfgs: l2/2·‖W‖² is added to the summed loss: 1/C.")

    @model_validator(mode="after")
    def _features_stay(self) -> LinearProbeSpec:
        if self.augment != "none" and (self.solver == "lbfgs" or self.features == "standardised"):
            field, fix = ("solver", "'sgd'") if self.solver == "lbfgs" else ("features", "'raw'")
            raise PydanticCustomError(
                "augmented",
                "{field} = '{value}' needs features that do not change, and augment = '{augment}' draws new views in every "
                "epoch: use augment 'none', or {field} {fix}",
                {"field": field, "value": getattr(self, field), "augment": self.augment, "fix": fix, "at": field},
            )
        return self


class FinetuneSpec(MeasureSpec):
    """The whole network trained on labels, complete. What is left is the report; the network is not kept."""

    kind: Literal["finetune"] = "finetune"
    protocol: Literal["simclr", "adamw"] = Field(
        "simclr",
        description="simclr: SGD with Nesterov momentum, 60 epochs of 1 % of the labels, else 30. adamw: for transformers.",
    )
    optimizer: Optimizer = Field(description="adamw is what vision transformers are trained with.")
    head_lr: float | None = Field(None, gt=0, le=1000, description="Peak learning rate of the new last layer. Default: lr.")
    warmup_epochs: float = Field(ge=0, description="Epochs of linear warm-up from 0, counted in steps.")

    @classmethod
    def _of_fraction(cls, filled: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        fraction = given.get("label_fraction", 1.0)
        few = isinstance(fraction, int | float) and 0 < fraction <= FEW_LABELS
        if few and "epochs" not in given and filled.get("protocol", "simclr") == "simclr":
            filled["epochs"] = EPOCHS_OF_FEW
        return filled


MeasureKind = LinearProbeSpec | FinetuneSpec
SPECS: dict[str, type[LinearProbeSpec] | type[FinetuneSpec]] = {"linear_probe": LinearProbeSpec, "finetune": FinetuneSpec}
