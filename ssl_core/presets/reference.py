"""The recipes of the reference implementation, with the paper's values where those are better known."""

from __future__ import annotations

from ssl_core.presets.recipe import BLOG_HEAD, PLAIN_HEAD, REFERENCE_OPTIM, REFERENCE_TRAINER, Recipe, lars
from ssl_core.spec import (
    BranchesConfig,
    BYOLConfig,
    ContrastLossConfig,
    EncoderConfig,
    HeadConfig,
    MoCoConfig,
    OptimConfig,
    SimCLRConfig,
    TrainerConfig,
    VICRegConfig,
)
from ssl_core.spec.augment import AugmentConfig


def moco_v1() -> Recipe:
    """MoCo as first published: one linear layer as the projector, no blur, a colder softmax."""
    return Recipe(
        origin="paper, He et al. 2019 (arXiv:1911.05722): ImageNet values; its step schedule is a cosine here",
        method=MoCoConfig(
            branches=BranchesConfig(projector=HeadConfig(layers=1, out_dim=128), momentum=0.999, shuffle_bn=True),
            loss=ContrastLossConfig(kind="ce", temperature=0.07),
            queue_size=65536,
        ),
        augment=AugmentConfig(jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4, grayscale=0.2, blur=0.0),
        optim=OptimConfig(name="sgd", lr=0.03, momentum=0.9, weight_decay=1e-4, exclude="none"),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )


def moco_v2() -> Recipe:
    """MoCo with a two-layer projector, blur and a warmer softmax: the reference implementation's default."""
    return Recipe(
        origin="reference implementation, ModelParams (85 % linear on STL-10 after 320 epochs); method of arXiv:2003.04297",
        method=MoCoConfig(
            branches=BranchesConfig(projector=PLAIN_HEAD, momentum=0.996),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            queue_size=65536,
        ),
        optim=REFERENCE_OPTIM,
        trainer=REFERENCE_TRAINER,
    )


def simclr() -> Recipe:
    """Every other view of the batch is a negative."""
    return Recipe(
        origin="reference implementation, SimCLRParams; the loss is the paper's NT-Xent (arXiv:2002.05709)",
        method=SimCLRConfig(
            branches=BranchesConfig(projector=PLAIN_HEAD, target="shared"),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            negatives="nt_xent",
        ),
        optim=REFERENCE_OPTIM,
        trainer=REFERENCE_TRAINER,
    )


def byol() -> Recipe:
    """No negatives; the loss is scaled as in the paper: 2 - 2·⟨q, k⟩."""
    return Recipe(
        origin="reference implementation, BYOLParams; loss_scale 2, the asymmetric views and warm-up are the paper's "
        "(arXiv:2006.07733)",
        method=BYOLConfig(
            branches=BranchesConfig(
                projector=BLOG_HEAD, predictor=BLOG_HEAD, target="ema", momentum=0.996, momentum_schedule="cosine"
            ),
            loss=ContrastLossConfig(kind="ip"),
            loss_scale=2.0,
            symmetric=True,
        ),
        augment=AugmentConfig.model_validate(
            {"saturation": 0.2, "blur": 1.0, "solarize": 0.0, "second_view": {"blur": 0.1, "solarize": 0.2}}
        ),
        optim=lars(lr=0.5, weight_decay=1e-4, warmup_epochs=1),
        trainer=REFERENCE_TRAINER,
    )


def eqco() -> Recipe:
    """MoCo v2 with few negatives and a margin that makes them weigh as 65,536 would."""
    return Recipe(
        origin="paper, Zhu et al. 2020 (arXiv:2010.01929): alpha 65536 with K 256; the rest as moco_v2",
        method=MoCoConfig(
            branches=BranchesConfig(projector=PLAIN_HEAD, momentum=0.996),
            loss=ContrastLossConfig(kind="ce", temperature=0.2, eqco_alpha=65536),
            queue_size=256,
        ),
        optim=REFERENCE_OPTIM,
        trainer=REFERENCE_TRAINER,
    )


def _vicreg(hidden_dim: int, out_dim: int, optim: OptimConfig, origin: str, augment: AugmentConfig) -> Recipe:
    return Recipe(
        origin=origin,
        method=VICRegConfig(
            branches=BranchesConfig(
                projector=HeadConfig(layers=3, hidden_dim=hidden_dim, out_dim=out_dim, norm="bn"),
                target="shared",
                normalize=False,
            )
        ),
        augment=augment,
        optim=optim,
        trainer=REFERENCE_TRAINER,
    )


def vicreg() -> Recipe:
    """Variance, invariance, covariance."""
    return _vicreg(
        512,
        128,
        lars(lr=0.5, weight_decay=1e-4, warmup_epochs=10, final_lr=0.002),
        "reference implementation, VICRegParams; the variance term is the paper's (arXiv:2105.04906)",
        AugmentConfig(),
    )


def vicreg_cifar10() -> Recipe:
    """VICReg as the reference's README recommends it for CIFAR-10."""
    return _vicreg(
        2048,
        2048,
        lars(lr=0.3, weight_decay=1e-4, warmup_epochs=10, eta=0.02),
        "reference implementation, README, 'our recommended way to modify VICReg for CIFAR-10'; the paper's variance term",
        AugmentConfig(blur=0.0),
    )


def imagenet_moco_v2_r50() -> Recipe:
    """ResNet-50 on ImageNet, 65.6 % linear in the reference."""
    return Recipe(
        origin="reference implementation, README, ImageNet: 8 GPUs with 32 images each",
        method=MoCoConfig(
            branches=BranchesConfig(
                projector=HeadConfig(layers=2, hidden_dim=2048, out_dim=128), momentum=0.996, shuffle_bn=True
            ),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            queue_size=65536,
            gather_keys=True,
        ),
        encoder=EncoderConfig(arch="resnet50", stem="imagenet"),
        optim=REFERENCE_OPTIM.changed(lr=0.03),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
        data={"source": "imagenet"},
    )
