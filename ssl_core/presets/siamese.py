"""Recipes of SimSiam, Barlow Twins, NNCLR and decoupled SimCLR: the papers' values, those for CIFAR-10 where there are any."""

from __future__ import annotations

from ssl_core.presets.recipe import BLOG_HEAD, Recipe, lars
from ssl_core.spec import (
    BarlowTwinsConfig,
    BranchesConfig,
    ContrastLossConfig,
    HeadConfig,
    NNCLRConfig,
    OptimConfig,
    SimCLRConfig,
    SimSiamConfig,
    TrainerConfig,
)
from ssl_core.spec.augment import AugmentConfig

# BYOL's two distributions of views, which Barlow Twins uses as well; small images are not blurred (see `complete`).
_BYOL_VIEWS = AugmentConfig.model_validate(
    {
        "crop_scale": (0.08, 1.0),
        "saturation": 0.2,
        "blur": 1.0,
        "solarize": 0.0,
        "second_view": {"blur": 0.1, "solarize": 0.2},
    }
)


def simsiam() -> Recipe:
    """SimSiam for CIFAR-10: a stop-gradient is all that keeps it from collapsing."""
    head = HeadConfig(layers=2, hidden_dim=2048, out_dim=2048, norm="bn", final_norm="bn_plain")
    return Recipe(
        origin="paper, Chen & He 2020 (arXiv:2011.10566), appendix D: CIFAR-10, a projector of 2 layers, lr 0.03 for 256 images",
        method=SimSiamConfig(
            branches=BranchesConfig(
                projector=head,
                predictor=HeadConfig(layers=2, hidden_dim=512, out_dim=2048, norm="bn"),
                target="stop_gradient",
            )
        ),
        optim=OptimConfig(name="sgd", lr=0.06, momentum=0.9, weight_decay=5e-4, exclude="none"),
        trainer=TrainerConfig(max_epochs=800, batch_size=512),
    )


def barlow_twins() -> Recipe:
    """Barlow Twins with its wide projector: 8,192 outputs, none saying what another says."""
    return Recipe(
        origin="paper, Zbontar et al. 2021 (arXiv:2103.03230): ImageNet values; loss_scale 0.024 stands for its smaller learning "
        "rate of biases and norms (0.0048 beside 0.2), as LARS ignores the scale elsewhere",
        method=BarlowTwinsConfig(loss_scale=0.024),
        augment=_BYOL_VIEWS,
        optim=lars(lr=1.6, weight_decay=1.5e-6, warmup_epochs=10, final_lr=0.0016),
        trainer=TrainerConfig(max_epochs=1000, batch_size=2048),
    )


def barlow_twins_cifar10() -> Recipe:
    """Barlow Twins with a projector of 2,048 for CIFAR-10."""
    return Recipe(
        origin="values of solo-learn's CIFAR-10 recipe (92.1 % online linear there), without its clipping of LARS's rates; "
        "method and views of the paper (arXiv:2103.03230)",
        method=BarlowTwinsConfig(
            branches=BranchesConfig(
                projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=2048, norm="bn"), target="shared", normalize=False
            ),
            loss_scale=0.1,
        ),
        augment=_BYOL_VIEWS,
        optim=lars(lr=0.3, weight_decay=1e-4, warmup_epochs=10, eta=0.02),
        trainer=TrainerConfig(max_epochs=1000, batch_size=256),
    )


def nnclr() -> Recipe:
    """NNCLR: the positive is the nearest neighbour among 98,304 past images."""
    return Recipe(
        origin="paper, Dwibedi et al. 2021 (arXiv:2104.14548): ImageNet values, lr 0.3 for 256 images; our usual views",
        method=NNCLRConfig(),
        optim=lars(lr=4.8, weight_decay=1e-6, warmup_epochs=10),
        trainer=TrainerConfig(max_epochs=1000, batch_size=4096),
    )


def nnclr_cifar10() -> Recipe:
    """NNCLR with a warmer softmax and a queue that fits CIFAR-10."""
    return Recipe(
        origin="values of solo-learn's CIFAR-10 recipe, without its clipping of LARS's rates; method of the paper "
        "(arXiv:2104.14548), views of BYOL's",
        method=NNCLRConfig(temperature=0.2, queue_size=65536),
        augment=_BYOL_VIEWS,
        optim=lars(lr=0.4, weight_decay=1e-5, warmup_epochs=10, eta=0.02),
        trainer=TrainerConfig(max_epochs=1000, batch_size=256),
    )


def dcl() -> Recipe:
    """SimCLR whose positive is not in the denominator: made for small batches."""
    return Recipe(
        origin="loss, batch and epochs of the paper, Yeh et al. 2021 (arXiv:2110.06848); heads, temperature and optimiser ours",
        method=SimCLRConfig(
            branches=BranchesConfig(projector=BLOG_HEAD, target="shared"),
            loss=ContrastLossConfig(kind="ce", temperature=0.2),
            decoupled="dcl",
        ),
        optim=OptimConfig(name="sgd", lr=0.12, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5),
        trainer=TrainerConfig(max_epochs=200, batch_size=256),
    )
