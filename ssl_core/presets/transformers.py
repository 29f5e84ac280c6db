"""Recipes with AdamW, for methods that vision transformers are trained with as well."""

from __future__ import annotations

from ssl_core.presets.recipe import Recipe
from ssl_core.spec import LeJEPAConfig, OptimConfig, TrainerConfig


def lejepa() -> Recipe:
    """Outputs shaped as a Gaussian: one network, one trade-off, and nothing that prevents collapse but the loss."""
    return Recipe(
        origin="paper, Balestriero and LeCun 2025 (arXiv:2511.08544): λ, slices; projector, rate, decay and epochs are ours",
        method=LeJEPAConfig(),
        optim=OptimConfig(name="adamw", lr=5e-4, weight_decay=0.05, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )
