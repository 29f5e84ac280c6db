"""The configs of the methods.

A method is its config here and its file in `ssl_core/methods/`; the two are apart so that a web process can validate a job
without importing torch (docs/decisions/0001-configs-without-torch.md).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from ssl_core.spec.methods_clustering import DINOConfig, MoCoV3Config, SwAVConfig
from ssl_core.spec.methods_distillation import DistillConfig
from ssl_core.spec.methods_reconstruction import LeJEPAConfig, MAEConfig
from ssl_core.spec.methods_siamese import BarlowTwinsConfig, NNCLRConfig, SimSiamConfig
from ssl_core.spec.parts import BranchesConfig, ContrastLossConfig, HeadConfig, MethodBase


class MoCoConfig(MethodBase):
    """Momentum contrast: negatives from a queue of past keys (He et al. 2019, v2: Chen et al. 2020)."""

    name: Literal["moco"] = "moco"
    loss: ContrastLossConfig = ContrastLossConfig()
    queue_size: int = Field(65536, gt=0, le=2**22, description="K, the number of past keys that serve as negatives.")
    symmetric: bool = Field(False, description="Use each view once as the query.")
    gather_keys: bool = Field(False, description="When distributed: push the keys of every rank into every rank's queue.")


class SimCLRConfig(MethodBase):
    """Negatives from the batch (Chen et al. 2020)."""

    name: Literal["simclr"] = "simclr"
    branches: BranchesConfig = BranchesConfig(target="shared")
    loss: ContrastLossConfig = ContrastLossConfig()
    negatives: Literal["nt_xent", "cross_view"] = Field(
        "nt_xent",
        description="nt_xent: the 2N - 2 other views of both kinds, as in the paper. "
        "cross_view: the N - 1 other images' second views, as in the reference implementation.",
    )
    symmetric: bool = Field(True, description="cross_view only: use each view once as the query. nt_xent always does.")
    decoupled: Literal["off", "dcl", "dclw"] = Field(
        "off",
        description="dcl: the positive does not count among what it is told apart from (Yeh et al. 2021). "
        "dclw: moreover, pairs weigh the more, the less alike they are.",
    )
    decoupled_sigma: float = Field(0.5, gt=0, le=10, description="dclw only: how sharply the weights follow the similarity.")

    @model_validator(mode="after")
    def _decoupled_is_cross_entropy(self) -> SimCLRConfig:
        if self.decoupled != "off" and (self.loss.kind != "ce" or self.loss.eqco_alpha is not None):
            raise PydanticCustomError(
                "decoupled",
                "decoupled = '{given}' changes what cross-entropy divides by; use loss.kind 'ce' without eqco_alpha "
                "(a margin on all negatives would only add a constant), or decoupled 'off'",
                {"given": self.decoupled, "at": "decoupled"},
            )
        return self


class BYOLConfig(MethodBase):
    """No negatives: predict the target's projection of the other view (Grill et al. 2020)."""

    name: Literal["byol"] = "byol"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(norm="bn"), predictor=HeadConfig(norm="bn"), momentum_schedule="cosine"
    )
    loss: ContrastLossConfig = ContrastLossConfig(kind="ip")
    loss_scale: float = Field(
        2.0,
        gt=0,
        description="2 is the paper's 2 - 2·⟨q, k⟩ = ‖q - k‖²; 1 is the reference implementation's 1 - ⟨q, k⟩, exactly half.",
    )
    symmetric: bool = Field(True, description="Sum the losses of both directions.")

    @model_validator(mode="after")
    def _no_negatives(self) -> BYOLConfig:
        if self.loss.kind == "ce":
            raise PydanticCustomError(
                "no_negatives",
                "loss.kind 'ce' is cross-entropy against negatives and BYOL has none; "
                "use 'ip' or 'bce', or method 'moco' or 'simclr'",
                {"at": "loss/kind"},
            )
        return self


class VICRegConfig(MethodBase):
    """Variance, invariance, covariance: no negatives, no target network (Bardes et al. 2021)."""

    name: Literal["vicreg"] = "vicreg"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, norm="bn", hidden_dim=2048, out_dim=2048), target="shared", normalize=False
    )
    invariance_weight: float = Field(25.0, ge=0, description="Of the distance between the two views' outputs.")
    variance_weight: float = Field(25.0, ge=0, description="Of dimensions whose standard deviation is below 1.")
    covariance_weight: float = Field(1.0, ge=0, description="Of dimensions that say the same.")
    variance_epsilon: float = Field(1e-4, gt=0, description="Added to variances before their square root is taken.")
    variance_term: Literal["paper", "reference"] = Field(
        "paper", description="paper: the mean of the two views' hinge terms. reference: their sum, twice as much."
    )


MethodConfig = Annotated[
    MoCoConfig
    | SimCLRConfig
    | BYOLConfig
    | VICRegConfig
    | SimSiamConfig
    | BarlowTwinsConfig
    | NNCLRConfig
    | SwAVConfig
    | DINOConfig
    | MoCoV3Config
    | LeJEPAConfig
    | MAEConfig
    | DistillConfig,
    Field(discriminator="name"),
]

METHOD_NAMES: tuple[str, ...] = tuple(each.model_fields["name"].default for each in get_args(get_args(MethodConfig)[0]))
