"""What a recipe is, and the values that several of them share."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ssl_core.spec import (
    Config,
    EncoderConfig,
    EvaluateConfig,
    HeadConfig,
    MethodConfig,
    OptimConfig,
    TrainerConfig,
)
from ssl_core.spec.augment import AugmentConfig


class Recipe(Config):
    """A partial spec: only the fields that were set count. `origin` says whose values they are."""

    origin: str
    method: MethodConfig
    encoder: EncoderConfig = EncoderConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    data: dict[str, Any] = Field(default_factory=dict)

    def layer(self) -> dict[str, Any]:
        """The recipe as a layer: the method whole, of everything else what was set."""
        sections = self.model_dump(exclude_unset=True, exclude={"origin", "method"})
        return {**sections, "method": self.method.model_dump()}


# The reference implementation's ModelParams: what moco_v2, byol, simclr and the blog post share.
REFERENCE_OPTIM = OptimConfig(name="sgd", lr=0.5, momentum=0.9, weight_decay=1e-4, exclude="none", schedule="cosine")
REFERENCE_TRAINER = TrainerConfig(max_epochs=320, batch_size=256)
BLOG_HEAD = HeadConfig(layers=2, hidden_dim=512, out_dim=128, norm="bn")
PLAIN_HEAD = HeadConfig(layers=2, hidden_dim=512, out_dim=128)


def lars(lr: float, weight_decay: float, warmup_epochs: float, final_lr: float = 0.0, eta: float = 1e-3) -> OptimConfig:
    """LARS with neither decay nor scaling for biases and norms."""
    return OptimConfig(
        name="lars",
        lr=lr,
        momentum=0.9,
        weight_decay=weight_decay,
        exclude="norm_and_bias",
        warmup_epochs=warmup_epochs,
        final_lr=final_lr,
        lars_eta=eta,
    )
