"""The configs of what methods share: heads, the two branches, and a loss on similarities."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ssl_core.spec.base import Config

NormName = Literal["bn", "ln", "gn", "br"]


class HeadConfig(Config):
    """A multilayer perceptron: (layers - 1) × [linear, norm, activation], then a linear layer. 0 layers: the identity."""

    layers: int = Field(2, ge=0, le=8, description="Linear layers.")
    hidden_dim: int = Field(512, ge=1, le=65536, description="Width between the layers.")
    out_dim: int = Field(128, ge=1, le=65536, description="Unused when layers is 0.")
    activation: Literal["relu", "gelu"] = Field("relu", description="Between the layers, after the norm.")
    norm: NormName | None = Field(
        None, description="Between the layers: bn batch, ln layer, gn group (32 groups), br batch renormalisation, null none."
    )
    weight_standardization: bool = Field(False, description="Standardise the weights of the hidden layers (Qiao et al. 2019).")
    final_norm: Literal["bn", "bn_plain"] | None = Field(
        None,
        description="After the last layer: bn batch norm (NNCLR's projector), bn_plain the same without learned scale and shift "
        "(SimSiam's), null none.",
    )

    @model_validator(mode="after")
    def _norms_fit(self) -> HeadConfig:
        if self.norm == "gn" and self.hidden_dim % 32:
            raise ValueError(f"hidden_dim = {self.hidden_dim} must be a multiple of 32 for norm 'gn' (32 groups)")
        if self.final_norm and not self.layers:
            raise ValueError(f"final_norm = {self.final_norm!r} comes after the last layer, and layers = 0 has none: use null")
        return self


IDENTITY = HeadConfig(layers=0)


class BranchesConfig(Config):
    """The query branch (encoder, projector, predictor) and the target branch that makes the keys."""

    projector: HeadConfig = HeadConfig()
    predictor: HeadConfig = IDENTITY
    target: Literal["ema", "shared", "stop_gradient"] = Field(
        "ema",
        description="ema: an exponential moving average of encoder and projector makes the keys, without gradient. "
        "shared: the query branch makes the keys too, predictor included, with gradient. "
        "stop_gradient: the query branch makes them, without its predictor and without gradient (SimSiam).",
    )
    momentum: float = Field(0.996, ge=0, le=1, description="m of the moving average: target = m·target + (1 - m)·online.")
    momentum_schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: from momentum to 1 over the run, per step (BYOL)."
    )
    normalize: bool = Field(True, description="Project queries and keys onto the unit sphere.")
    shuffle_bn: bool = Field(
        False,
        description="Keep the target's batch norm from leaking which images belong together: shuffle across ranks "
        "when distributed, split the batch in one process.",
    )
    bn_splits: int = Field(
        8, ge=2, le=64, description="Parts of a batch that are normalised apart when shuffle_bn runs in one process."
    )

    @model_validator(mode="after")
    def _fits(self) -> BranchesConfig:
        projector, predictor = self.projector, self.predictor
        if self.target != "shared" and projector.layers and predictor.layers and projector.out_dim != predictor.out_dim:
            raise ValueError(
                f"predictor.out_dim = {predictor.out_dim} must equal projector.out_dim = {projector.out_dim}: "
                "the prediction is compared with the target's projection"
            )
        if self.shuffle_bn and self.target != "ema":
            raise ValueError(
                f"shuffle_bn protects a target network; with target {self.target!r} there is none: leave it out, or use 'ema'"
            )
        return self


class ContrastLossConfig(Config):
    """How similarities become a loss. With N images: positives one per query, negatives K (queue) or those of the batch."""

    kind: Literal["ce", "bce", "ip"] = Field(
        "ce",
        description="ce: cross-entropy (InfoNCE). bce: binary cross-entropy, summed over the logits. ip: 1 - similarity "
        "for the positive plus 1 + similarity for each negative.",
    )
    temperature: float = Field(0.2, gt=0, le=10, description="Divides the similarities (ce and bce).")
    eqco_alpha: float | None = Field(
        None,
        gt=0,
        description="EqCo (Zhu et al. 2020): adds log(alpha / K) to the negative logits, so that K negatives weigh as alpha. "
        "K is the queue; for nt_xent 2N - 2, for cross_view N.",
    )

    @model_validator(mode="after")
    def _margin_needs_ce(self) -> ContrastLossConfig:
        if self.eqco_alpha is not None and self.kind != "ce":
            raise ValueError(
                f"eqco_alpha is a margin on cross-entropy; loss.kind is {self.kind!r}: use 'ce', or leave eqco_alpha out"
            )
        return self


class MethodBase(Config):
    """The fields that every method has."""

    branches: BranchesConfig = BranchesConfig()
    loss_scale: float = Field(1.0, gt=0, description="A constant factor on the loss.")
