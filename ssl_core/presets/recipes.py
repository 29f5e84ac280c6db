"""The named recipes, each with the paper's or the reference implementation's values and a line that says which."""

from __future__ import annotations

from collections.abc import Callable

from ssl_core.presets import blog, distillation, multicrop, reference, siamese, transformers
from ssl_core.presets.auto import auto
from ssl_core.presets.recipe import BLOG_HEAD, Recipe
from ssl_core.spec import (
    BranchesConfig,
    ContrastLossConfig,
    OptimConfig,
    SimCLRConfig,
    TrainerConfig,
)


def default() -> Recipe:
    """SimCLR, which needs no tuned target network and learns from the first epoch on, on any images."""
    return Recipe(
        origin="ours: SimCLR (arXiv:2002.05709) at its CIFAR-10 temperature; epochs by the number of images",
        method=SimCLRConfig(
            branches=BranchesConfig(projector=BLOG_HEAD, target="shared"),
            loss=ContrastLossConfig(kind="ce", temperature=0.5),
        ),
        optim=OptimConfig(name="sgd", lr=0.12, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(batch_size=256),
    )


PRESETS: dict[str, Callable[[], Recipe]] = {
    "auto": auto,
    "default": default,
    "moco_v1": reference.moco_v1,
    "moco_v2": reference.moco_v2,
    "simclr": reference.simclr,
    "byol": reference.byol,
    "eqco": reference.eqco,
    "vicreg": reference.vicreg,
    "vicreg_cifar10": reference.vicreg_cifar10,
    "imagenet_moco_v2_r50": reference.imagenet_moco_v2_r50,
    "base": blog.base,
    "pred_only": blog.pred_only,
    "proj_only": blog.proj_only,
    "no_norm": blog.no_norm,
    "layer_norm": blog.layer_norm,
    "xent": blog.xent,
    "simsiam": siamese.simsiam,
    "barlow_twins": siamese.barlow_twins,
    "barlow_twins_cifar10": siamese.barlow_twins_cifar10,
    "nnclr": siamese.nnclr,
    "nnclr_cifar10": siamese.nnclr_cifar10,
    "dcl": siamese.dcl,
    "swav": multicrop.swav,
    "dino": multicrop.dino,
    "dino_resnet50": multicrop.dino_resnet50,
    "swav_cifar10": multicrop.swav_cifar10,
    "dino_cifar10": multicrop.dino_cifar10,
    "moco_v3": multicrop.moco_v3,
    "moco_v3_resnet50": multicrop.moco_v3_resnet50,
    "lejepa": transformers.lejepa,
    "mae": transformers.mae,
    "distill": distillation.distill,
}
