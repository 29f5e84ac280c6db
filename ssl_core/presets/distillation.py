"""The recipe of distillation. Whom to learn from is the one thing that it cannot say."""

from __future__ import annotations

from ssl_core.presets.recipe import Recipe
from ssl_core.spec import DistillConfig, OptimConfig, TrainerConfig
from ssl_core.spec.augment import AugmentConfig


def distill() -> Recipe:
    """A small encoder that learns from a frozen teacher, which `method.teacher` names."""
    return Recipe(
        origin="ours: one view for both and many epochs, as Beyer et al. 2021 (arXiv:2106.05237) find best; crops, flips and "
        "mild colours, which leave pictures that the teacher knows; AdamW, as the task is a regression",
        method=DistillConfig(),
        augment=AugmentConfig(jitter=0.4, grayscale=0.0, blur=0.0),
        optim=OptimConfig(name="adamw", lr=1e-3, weight_decay=0.05, warmup_epochs=5),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )
