"""The recipe of distillation. Whom to learn from is the one thing that it cannot say."""

from __future__ import annotations

from ssl_core.presets.recipe import Recipe
from ssl_core.spec import DistillConfig, OptimConfig, TrainerConfig
from ssl_core.spec.augment import AugmentConfig


def distill() -> Recipe:
    """A small encoder that learns from a frozen teacher, which `method.teacher` names."""
    return Recipe(
        origin="ours: SEED's loss and temperatures (arXiv:2101.04731), without the teacher's mean; default's optimiser; one view "
        "for both and many epochs (arXiv:2106.05237); crops, flips, mild colours: pictures that the teacher knows",
        method=DistillConfig(loss="similarity"),
        augment=AugmentConfig(jitter=0.4, grayscale=0.0, blur=0.0),
        optim=OptimConfig(name="sgd", lr=0.12, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )
