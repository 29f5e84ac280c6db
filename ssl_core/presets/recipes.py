"""The named recipes, each with the paper's or the reference implementation's values and a line that says which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from ssl_core.spec import (
    BranchesConfig,
    BYOLConfig,
    Config,
    ContrastLossConfig,
    EncoderConfig,
    EvaluateConfig,
    HeadConfig,
    MethodConfig,
    MoCoConfig,
    OptimConfig,
    SimCLRConfig,
    TrainerConfig,
    VICRegConfig,
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
_REFERENCE_OPTIM = OptimConfig(name="sgd", lr=0.5, momentum=0.9, weight_decay=1e-4, exclude="none", schedule="cosine")
_REFERENCE_TRAINER = TrainerConfig(max_epochs=320, batch_size=256)
_BLOG_HEAD = HeadConfig(layers=2, hidden_dim=512, out_dim=128, norm="bn")
_PLAIN_HEAD = HeadConfig(layers=2, hidden_dim=512, out_dim=128)


def _lars(lr: float, weight_decay: float, warmup_epochs: float, final_lr: float = 0.0, eta: float = 1e-3) -> OptimConfig:
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
            branches=BranchesConfig(projector=_PLAIN_HEAD, momentum=0.996),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            queue_size=65536,
        ),
        optim=_REFERENCE_OPTIM,
        trainer=_REFERENCE_TRAINER,
    )


def simclr() -> Recipe:
    """Every other view of the batch is a negative."""
    return Recipe(
        origin="reference implementation, SimCLRParams; the loss is the paper's NT-Xent (arXiv:2002.05709)",
        method=SimCLRConfig(
            branches=BranchesConfig(projector=_PLAIN_HEAD, target="shared"),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            negatives="nt_xent",
        ),
        optim=_REFERENCE_OPTIM,
        trainer=_REFERENCE_TRAINER,
    )


def byol() -> Recipe:
    """No negatives; the loss is scaled as in the paper: 2 - 2·⟨q, k⟩."""
    return Recipe(
        origin="reference implementation, BYOLParams; loss_scale 2, the asymmetric views and warm-up are the paper's "
        "(arXiv:2006.07733)",
        method=BYOLConfig(
            branches=BranchesConfig(
                projector=_BLOG_HEAD, predictor=_BLOG_HEAD, target="ema", momentum=0.996, momentum_schedule="cosine"
            ),
            loss=ContrastLossConfig(kind="ip"),
            loss_scale=2.0,
            symmetric=True,
        ),
        augment=AugmentConfig.model_validate(
            {"saturation": 0.2, "blur": 1.0, "solarize": 0.0, "second_view": {"blur": 0.1, "solarize": 0.2}}
        ),
        optim=_lars(lr=0.5, weight_decay=1e-4, warmup_epochs=1),
        trainer=_REFERENCE_TRAINER,
    )


def eqco() -> Recipe:
    """MoCo v2 with few negatives and a margin that makes them weigh as 65,536 would."""
    return Recipe(
        origin="paper, Zhu et al. 2020 (arXiv:2010.01929): alpha 65536 with K 256; the rest as moco_v2",
        method=MoCoConfig(
            branches=BranchesConfig(projector=_PLAIN_HEAD, momentum=0.996),
            loss=ContrastLossConfig(kind="ce", temperature=0.2, eqco_alpha=65536),
            queue_size=256,
        ),
        optim=_REFERENCE_OPTIM,
        trainer=_REFERENCE_TRAINER,
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
        trainer=_REFERENCE_TRAINER,
    )


def vicreg() -> Recipe:
    """Variance, invariance, covariance."""
    return _vicreg(
        512,
        128,
        _lars(lr=0.5, weight_decay=1e-4, warmup_epochs=10, final_lr=0.002),
        "reference implementation, VICRegParams; the variance term is the paper's (arXiv:2105.04906)",
        AugmentConfig(),
    )


def vicreg_cifar10() -> Recipe:
    """VICReg as the reference's README recommends it for CIFAR-10."""
    return _vicreg(
        2048,
        2048,
        _lars(lr=0.3, weight_decay=1e-4, warmup_epochs=10, eta=0.02),
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
        optim=_REFERENCE_OPTIM.changed(lr=0.03),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
        data={"source": "imagenet"},
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
        optim=_REFERENCE_OPTIM.changed(lr=0.8),
        trainer=TrainerConfig(max_epochs=10, batch_size=256),
    )


def base() -> Recipe:
    """Blog post: BYOL with batch norm in both heads (it learns)."""
    return _ablation("base", _BLOG_HEAD, _BLOG_HEAD)


def pred_only() -> Recipe:
    """Blog post: batch norm in the predictor only."""
    return _ablation("pred_only", _PLAIN_HEAD, _BLOG_HEAD)


def proj_only() -> Recipe:
    """Blog post: batch norm in the projector only."""
    return _ablation("proj_only", _BLOG_HEAD, _PLAIN_HEAD)


def no_norm() -> Recipe:
    """Blog post: no norm in the heads (it collapses to no better than random)."""
    return _ablation("no_norm", _PLAIN_HEAD, _PLAIN_HEAD)


def layer_norm() -> Recipe:
    """Blog post: layer norm in both heads."""
    head = _PLAIN_HEAD.changed(norm="ln")
    return _ablation("layer_norm", head, head)


def xent() -> Recipe:
    """Blog post: no norm in the heads, but negatives from a queue under cross-entropy (it learns again)."""
    return Recipe(
        origin="reference implementation, train_blog.py: xent; ten epochs of STL-10",
        method=MoCoConfig(
            branches=BranchesConfig(projector=_PLAIN_HEAD, predictor=_PLAIN_HEAD, momentum=0.996, momentum_schedule="cosine"),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            queue_size=65536,
            symmetric=True,
        ),
        optim=_REFERENCE_OPTIM.changed(lr=0.02),
        trainer=TrainerConfig(max_epochs=10, batch_size=256),
    )


def default() -> Recipe:
    """What runs when nothing is named: SimCLR, which needs no tuned target network and learns from the first epoch on."""
    return Recipe(
        origin="ours: SimCLR (arXiv:2002.05709) at its CIFAR-10 temperature; epochs by the number of images",
        method=SimCLRConfig(
            branches=BranchesConfig(projector=_BLOG_HEAD, target="shared"),
            loss=ContrastLossConfig(kind="ce", temperature=0.5),
        ),
        optim=OptimConfig(name="sgd", lr=0.12, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(batch_size=256),
    )


PRESETS: dict[str, Callable[[], Recipe]] = {
    "default": default,
    "moco_v1": moco_v1,
    "moco_v2": moco_v2,
    "simclr": simclr,
    "byol": byol,
    "eqco": eqco,
    "vicreg": vicreg,
    "vicreg_cifar10": vicreg_cifar10,
    "imagenet_moco_v2_r50": imagenet_moco_v2_r50,
    "base": base,
    "pred_only": pred_only,
    "proj_only": proj_only,
    "no_norm": no_norm,
    "layer_norm": layer_norm,
    "xent": xent,
}
