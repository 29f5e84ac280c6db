"""The six runs of the blog post: what batch norm in the heads does for BYOL."""

from __future__ import annotations

from ssl_core.presets.recipe import BLOG_HEAD, PLAIN_HEAD, REFERENCE_OPTIM, Recipe
from ssl_core.spec import (
    BranchesConfig,
    BYOLConfig,
    ContrastLossConfig,
    HeadConfig,
    MoCoConfig,
    TrainerConfig,
)


def _ablation(what: str, projector: HeadConfig, predictor: HeadConfig) -> Recipe:
    return Recipe(
        origin=f"reference implementation, train_blog.py: {what}; ten epochs of STL-10",
        method=BYOLConfig(
            branches=BranchesConfig(projector=projector, predictor=predictor, momentum=0.996, momentum_schedule="cosine"),
            loss=ContrastLossConfig(kind="ip"),
            loss_scale=1.0,
            symmetric=True,
        ),
        optim=REFERENCE_OPTIM.changed(lr=0.8),
        trainer=TrainerConfig(max_epochs=10, batch_size=256),
    )


def base() -> Recipe:
    """Blog post: BYOL with batch norm in both heads (it learns)."""
    return _ablation("base", BLOG_HEAD, BLOG_HEAD)


def pred_only() -> Recipe:
    """Blog post: batch norm in the predictor only."""
    return _ablation("pred_only", PLAIN_HEAD, BLOG_HEAD)


def proj_only() -> Recipe:
    """Blog post: batch norm in the projector only."""
    return _ablation("proj_only", BLOG_HEAD, PLAIN_HEAD)


def no_norm() -> Recipe:
    """Blog post: no norm in the heads (it collapses to no better than random)."""
    return _ablation("no_norm", PLAIN_HEAD, PLAIN_HEAD)


def layer_norm() -> Recipe:
    """Blog post: layer norm in both heads."""
    head = PLAIN_HEAD.changed(norm="ln")
    return _ablation("layer_norm", head, head)


def xent() -> Recipe:
    """Blog post: no norm in the heads, but negatives from a queue under cross-entropy (it learns again)."""
    return Recipe(
        origin="reference implementation, train_blog.py: xent; ten epochs of STL-10",
        method=MoCoConfig(
            branches=BranchesConfig(projector=PLAIN_HEAD, predictor=PLAIN_HEAD, momentum=0.996, momentum_schedule="cosine"),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            queue_size=65536,
            symmetric=True,
        ),
        optim=REFERENCE_OPTIM.changed(lr=0.02),
        trainer=TrainerConfig(max_epochs=10, batch_size=256),
    )
