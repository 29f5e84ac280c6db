"""The preset `auto`: method, epochs, batch size, crops and optimiser, chosen from the images, the backbone and the machine.

A pure function of a Situation; docs/methods.md has the rules as a table, and every choice comes with a sentence for the job's
notes. What decides is how much computing there is: GFLOP per view times images shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ssl_core.presets.recipe import BLOG_HEAD, PLAIN_HEAD, REFERENCE_OPTIM, Recipe
from ssl_core.spec import BranchesConfig, ContrastLossConfig, MoCoConfig, OptimConfig, SimCLRConfig, TrainerConfig
from ssl_core.spec.augment import AugmentConfig

# GFLOP (multiply-adds) of one image of 224 px, by the beginning of the name; the longest that fits counts.
_GFLOP = {
    "resnet18": 1.8, "resnet34": 3.7, "resnet50": 4.1, "resnet101": 7.8, "resnet152": 11.5, "resnext50": 4.3, "resnext101": 16.5,
    "wide_resnet50": 11.4, "wide_resnet101": 22.8, "shufflenet_v2_x0_5": 0.04, "shufflenet_v2": 0.3, "squeezenet": 0.4,
    "mobilenet_v2": 0.3, "mobilenet_v3_small": 0.06, "mobilenet_v3_large": 0.2, "mnasnet": 0.3, "efficientnet_b0": 0.4,
    "regnet_y_400mf": 0.4, "regnet_x_400mf": 0.4, "densenet121": 2.8, "convnext_tiny": 4.5, "convnext_small": 8.7,
    "convnext_base": 15.4, "swin_t": 4.5, "vit_tiny": 1.3, "vit_small": 4.6, "vit_b": 17.6, "vit_l": 61.6, "vit_h": 167.0,
}  # fmt: skip
_UNKNOWN_GFLOP = 4.0
_CIFAR_STEM = 16.0  # times as many positions, because neither the first convolution nor a pooling halves them
TRANSFORMERS = ("vit_", "swin_", "maxvit_", "deit", "beit", "eva")

# Multiply-adds that a run may take in one forward pass per view, in GFLOP: about an hour of two cores, of one large GPU.
BUDGET = {"CPU": 30_000.0, "GPU": 10_000_000.0}
MOST_IMAGES = {"CPU": 300_000, "GPU": 10_000_000}  # shown, however small the network
FEWEST_EPOCHS = {"CPU": 5, "GPU": 20}
MOST_EPOCHS = 800
PHOTOGRAPH = 96  # px, from which images count as photographs
MANY = 50_000  # images, enough for a queue of negatives that are all of other images
VERY_MANY = 100_000  # images, enough for the papers' small crops


@dataclass(frozen=True)
class Situation:
    """All that is looked at: images to train on, the side of the square the network sees, backbone, stem, hardware."""

    images: int
    size: int
    arch: str
    stem: str
    gpu: bool

    @property
    def machine(self) -> str:
        return "GPU" if self.gpu else "CPU"

    @property
    def transformer(self) -> bool:
        return self.arch.removeprefix("timm/").startswith(TRANSFORMERS)

    @property
    def gflop(self) -> float:
        """Of one forward pass of one view, roughly."""
        name = self.arch.removeprefix("timm/").removeprefix("ws_")
        fitting = [each for each in _GFLOP if name.startswith(each)]
        at_224 = _GFLOP[max(fitting, key=len)] if fitting else _UNKNOWN_GFLOP
        small = self.stem == "cifar" or (self.stem == "auto" and self.size <= 64)
        return at_224 * (self.size / 224) ** 2 * (_CIFAR_STEM if small and "resnet" in name else 1.0)


@dataclass(frozen=True)
class Choice:
    """A recipe for the situation; `why`: a sentence for each field that was chosen, by section and name."""

    recipe: Recipe
    why: dict[tuple[str, str], str]


def auto() -> Recipe:
    """What runs when nothing is named: chosen from number and size of the images, backbone and hardware."""
    return choose(Situation(images=50_000, size=32, arch="resnet18", stem="auto", gpu=True)).recipe


def choose(situation: Situation, named: Callable[[], Recipe] | None = None) -> Choice:
    """The recipe for a situation. `named`: that of the method the user has named, of which only the epochs are chosen here."""
    epochs, why_epochs = _epochs(situation)
    why = {("trainer", "max_epochs"): why_epochs}
    if named is not None:
        recipe = named()
        return Choice(recipe.changed(trainer=recipe.trainer.changed(max_epochs=epochs)), why)
    batch, why_batch = _batch(situation)
    crop, why_crop = _crop(situation)
    method, optim, why_method, why_optim = _method(situation, batch)
    why |= {
        ("method", "name"): why_method,
        ("trainer", "batch_size"): why_batch,
        ("augment", "crop_scale"): why_crop,
        ("optim", "name"): why_optim,
    }
    recipe = Recipe(
        origin="ours: rules on number and size of images, backbone and hardware (docs/methods.md, auto)",
        method=method,
        augment=AugmentConfig(crop_scale=crop),
        optim=optim,
        trainer=TrainerConfig(batch_size=batch, max_epochs=epochs),
    )
    return Choice(recipe, why)


def _epochs(situation: Situation) -> tuple[int, str]:
    """As many as the budget pays for: on a CPU about an hour of two cores, on a GPU about an hour of a large one."""
    machine = situation.machine
    shown = min(MOST_IMAGES[machine], BUDGET[machine] / situation.gflop)
    epochs = max(FEWEST_EPOCHS[machine], min(MOST_EPOCHS, round(shown / max(1, situation.images))))
    about = f"{situation.gflop:.2g} GFLOP a view"
    return epochs, f"chosen for {situation.images:,} images at {about} on a {machine}"


def _batch(situation: Situation) -> tuple[int, str]:
    if situation.gpu and situation.size <= 64 and situation.images >= MANY:
        batch, why = 512, "small images and many of them, on a GPU"
    elif situation.gpu:
        batch, why = 256, "what most recipes are tuned for"
    else:
        batch = 256 if situation.size <= 64 else 128 if situation.size <= 128 else 64
        why = f"{situation.size} px on a CPU: more images a step would not be faster"
    most = max(2, 2 ** int(math.log2(max(2, situation.images // 4))))
    return (batch, why) if batch <= most else (most, f"at least four steps in an epoch of {situation.images:,} images")


def _crop(situation: Situation) -> tuple[tuple[float, float], str]:
    if situation.size >= PHOTOGRAPH and situation.images >= VERY_MANY:
        return (0.08, 1.0), "many photographs: the papers' crops for ImageNet"
    why = "small images" if situation.size < PHOTOGRAPH else f"fewer than {VERY_MANY:,} photographs"
    return (0.2, 1.0), f"{why}: a smaller part of one often shows nothing"


def _method(situation: Situation, batch: int) -> tuple[MoCoConfig | SimCLRConfig, OptimConfig, str, str]:
    factor = batch / 256
    simclr = SimCLRConfig(
        branches=BranchesConfig(projector=BLOG_HEAD, target="shared"), loss=ContrastLossConfig(kind="ce", temperature=0.5)
    )
    if situation.transformer:
        adamw = OptimConfig(name="adamw", lr=1.5e-4 * factor, weight_decay=0.1, warmup_epochs=40)
        why = "a vision transformer: MoCo v3's optimiser and rate (arXiv:2104.02057)"
        return simclr, adamw, "negatives of the batch, which suit any backbone", why
    if situation.gpu and situation.size >= PHOTOGRAPH and situation.images >= MANY:
        queue = min(65536, 2 ** int(math.log2(situation.images // 2)))
        moco = MoCoConfig(branches=BranchesConfig(projector=PLAIN_HEAD, momentum=0.996), queue_size=queue)
        moco = moco.changed(loss=ContrastLossConfig(kind="ce", temperature=0.2))
        why = f"{queue:,} negatives from a queue, at two thirds of SimCLR's cost for each photograph"
        return moco, REFERENCE_OPTIM.changed(lr=0.03 * factor), why, "a convolutional network: MoCo v2's (arXiv:2003.04297)"
    sgd = OptimConfig(name="sgd", lr=0.12 * factor, momentum=0.9, weight_decay=5e-4, warmup_epochs=0.5)
    return simclr, sgd, "learns from the first epoch on, and has no moving average to tune", "a convolutional network"
