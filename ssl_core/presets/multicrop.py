"""SwAV and DINO, which draw local views besides the two global ones, and MoCo v3: the papers' ImageNet values."""

from __future__ import annotations

from typing import Any

from ssl_core.presets.recipe import Recipe, lars
from ssl_core.spec import (
    BranchesConfig,
    DINOConfig,
    EncoderConfig,
    HeadConfig,
    MoCoV3Config,
    OptimConfig,
    SwAVConfig,
    TrainerConfig,
)
from ssl_core.spec.augment import AugmentConfig

# BYOL's asymmetric pair, with jitter by 0.4, 0.4, 0.2, 0.1.
_PAIR: dict[str, Any] = {
    "saturation": 0.2,
    "blur": 1.0,
    "solarize": 0.0,
    "second_view": {"blur": 0.1, "solarize": 0.2},
}


def swav() -> Recipe:
    """Prototypes shared out evenly, two views and six local ones, a queue for the small batch."""
    return Recipe(
        origin="paper, Caron et al. 2020 (arXiv:2006.09882) and its code: ResNet-50 on ImageNet, batch 256, 200 epochs",
        method=SwAVConfig(queue_size=3840, queue_start_epochs=15, freeze_prototypes_epochs=1),
        encoder=EncoderConfig(arch="resnet50"),
        augment=AugmentConfig.model_validate(
            {
                "crop_scale": (0.14, 1.0),
                "brightness": 0.8,
                "contrast": 0.8,
                "saturation": 0.8,
                "hue": 0.2,
                "local_views": {"count": 6, "crop_scale": (0.05, 0.14)},
            }
        ),
        optim=lars(lr=0.6, weight_decay=1e-6, warmup_epochs=0, final_lr=0.0006).changed(exclude="none"),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )


def swav_cifar10() -> Recipe:
    """SwAV on small images: prototypes for tens of kinds, two views, and a short queue."""
    return Recipe(
        origin="ours, for images of about 32 px: prototypes as many as lightly's CIFAR-10 benchmark has, jitter of the paper",
        method=SwAVConfig(prototypes=512, queue_size=1024, queue_start_epochs=5, freeze_prototypes_epochs=1),
        augment=AugmentConfig.model_validate(
            {"crop_scale": (0.2, 1.0), "brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
        ),
        optim=OptimConfig(name="sgd", lr=0.12, final_lr=1e-6, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )


def dino() -> Recipe:
    """A vision transformer taught by its own moving average, two views and eight local ones."""
    return Recipe(
        origin="paper, Caron et al. 2021 (arXiv:2104.14294) and its code: ViT-S/16 on ImageNet, batch 1024, 100 epochs",
        method=DINOConfig(teacher_temperature=0.07, teacher_temperature_start=0.04, teacher_warmup_epochs=30),
        encoder=EncoderConfig(arch="timm/vit_small_patch16_224"),
        augment=AugmentConfig.model_validate(
            {
                **_PAIR,
                "crop_scale": (0.4, 1.0),
                "local_views": {"count": 8, "crop_scale": (0.05, 0.4), "blur": 0.5},
            }
        ),
        optim=OptimConfig(name="adamw", lr=0.002, final_lr=1e-6, weight_decay=0.04, final_weight_decay=0.4, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=100, batch_size=1024, gradient_clip=3.0),
    )


def dino_resnet50() -> Recipe:
    """DINO on a convolutional network: batch norm in the head, SGD."""
    head = HeadConfig(layers=3, hidden_dim=2048, out_dim=256, norm="bn", activation="gelu")
    return Recipe(
        origin="paper, Caron et al. 2021 (arXiv:2104.14294) and its code: ResNet-50 on ImageNet, batch 1024, 100 epochs",
        method=DINOConfig(branches=BranchesConfig(projector=head, momentum=0.996, momentum_schedule="cosine")),
        encoder=EncoderConfig(arch="resnet50"),
        augment=AugmentConfig.model_validate(
            {**_PAIR, "crop_scale": (0.14, 1.0), "local_views": {"count": 8, "crop_scale": (0.05, 0.14), "blur": 0.5}}
        ),
        optim=OptimConfig(name="sgd", lr=0.12, final_lr=1e-6, momentum=0.9, weight_decay=1e-4, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=100, batch_size=1024),
    )


def dino_cifar10() -> Recipe:
    """DINO on small images: fewer prototypes, a smaller head, four local views that are still large enough to show something."""
    head = HeadConfig(layers=3, hidden_dim=1024, out_dim=256, norm="bn", activation="gelu")
    return Recipe(
        origin="ours, from the paper's ResNet-50 recipe: images of about 32 px and hundreds of epochs at most",
        method=DINOConfig(prototypes=2048, branches=BranchesConfig(projector=head, momentum=0.99, momentum_schedule="cosine")),
        augment=AugmentConfig.model_validate({"crop_scale": (0.2, 1.0), "local_views": {"count": 4, "crop_scale": (0.1, 0.3)}}),
        optim=OptimConfig(name="sgd", lr=0.12, final_lr=1e-6, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )


def moco_v3() -> Recipe:
    """Momentum contrast for vision transformers: no queue, a predictor, patch projections that are not trained."""
    return Recipe(
        origin="paper, Chen et al. 2021 (arXiv:2104.02057) and its code: ViT-S/16 on ImageNet, batch 4096, 300 epochs",
        method=MoCoV3Config(patch_projection="frozen"),
        encoder=EncoderConfig(arch="timm/vit_small_patch16_224"),
        augment=AugmentConfig.model_validate({**_PAIR, "crop_scale": (0.08, 1.0)}),
        optim=OptimConfig(name="adamw", lr=0.0024, weight_decay=0.1, exclude="none", warmup_epochs=40),
        trainer=TrainerConfig(max_epochs=300, batch_size=4096),
    )


def moco_v3_resnet50() -> Recipe:
    """MoCo v3 on a convolutional network: two-layer projector, a warmer softmax, LARS."""
    return Recipe(
        origin="paper, Chen et al. 2021 (arXiv:2104.02057) and its code: ResNet-50 on ImageNet, batch 4096, 100 epochs",
        method=MoCoV3Config(
            branches=BranchesConfig(
                projector=HeadConfig(layers=2, hidden_dim=4096, out_dim=256, norm="bn", final_norm="bn_plain"),
                predictor=HeadConfig(layers=2, hidden_dim=4096, out_dim=256, norm="bn"),
                momentum=0.99,
                momentum_schedule="cosine",
            ),
            temperature=1.0,
        ),
        encoder=EncoderConfig(arch="resnet50"),
        augment=AugmentConfig.model_validate({**_PAIR, "crop_scale": (0.2, 1.0)}),
        optim=lars(lr=9.6, weight_decay=1e-6, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=100, batch_size=4096),
    )
