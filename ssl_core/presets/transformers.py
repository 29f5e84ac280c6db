"""Recipes with AdamW, for methods that vision transformers are trained with as well."""

from __future__ import annotations

from ssl_core.presets.recipe import Recipe
from ssl_core.spec import EncoderConfig, LeJEPAConfig, MAEConfig, OptimConfig, TrainerConfig
from ssl_core.spec.augment import AugmentConfig


def lejepa() -> Recipe:
    """Outputs shaped as a Gaussian: one network, one trade-off, and nothing that prevents collapse but the loss."""
    return Recipe(
        origin="paper, Balestriero and LeCun 2025 (arXiv:2511.08544): λ, slices; projector, rate, decay and epochs are ours",
        method=LeJEPAConfig(),
        optim=OptimConfig(name="adamw", lr=5e-4, weight_decay=0.05, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )


def mae() -> Recipe:
    """A vision transformer that sees a quarter of a picture, and a decoder that guesses the rest."""
    return Recipe(
        origin="paper, He et al. 2021 (arXiv:2111.06377), table 8: ViT-B/16 on ImageNet, batch 4096, 800 epochs",
        method=MAEConfig(),
        encoder=EncoderConfig(arch="timm/vit_base_patch16_224"),
        augment=AugmentConfig(crop_scale=(0.2, 1.0), jitter=0.0, grayscale=0.0, blur=0.0),
        optim=OptimConfig(name="adamw", lr=0.0024, beta2=0.95, weight_decay=0.05, warmup_epochs=40),
        trainer=TrainerConfig(max_epochs=800, batch_size=4096),
    )
