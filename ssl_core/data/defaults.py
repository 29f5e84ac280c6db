"""Sizes and normalisation statistics that follow the dataset. Knows no torch.

| source   | size | kept at | mean and std of                                             |
|----------|------|---------|-------------------------------------------------------------|
| digits   | 32   | 32      | the images themselves, scaled up to 32 px                   |
| cifar10  | 32   | 32      | the training images                                         |
| stl10    | 96   | 96      | the training images                                         |
| imagenet | 224  | 256     | ImageNet                                                    |
| folder   | by its images: 32, 64, 96, and beyond 224 (128 without a GPU) | 8/7 of size from 96 px on | ImageNet |
"""

from __future__ import annotations

from typing import Protocol

from ssl_core.spec import DataConfig, FolderData, ImageNetData

Triple = tuple[float, float, float]

IMAGENET_STATISTICS: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS: dict[str, tuple[Triple, Triple]] = {
    "digits": ((0.3055, 0.3055, 0.3055), (0.3235, 0.3235, 0.3235)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "stl10": ((0.4467, 0.4398, 0.4066), (0.2603, 0.2566, 0.2713)),
    "imagenet": IMAGENET_STATISTICS,
    "folder": IMAGENET_STATISTICS,
}
SIZES = {"digits": 32, "cifar10": 32, "stl10": 96, "imagenet": 224}


class Typical(Protocol):
    """What `SourceFacts` tells of a source that sizes depend on."""

    @property
    def source(self) -> str: ...
    @property
    def typical_size(self) -> tuple[int, int] | None: ...


def default_size(facts: Typical, has_gpu: bool) -> int:
    """The side of the square the network sees, in pixels."""
    if facts.source in SIZES:
        return SIZES[facts.source]
    side = min(facts.typical_size) if facts.typical_size else 224
    for largest, size in ((40, 32), (72, 64), (128, 96)):
        if side <= largest:
            return size
    return 224 if has_gpu else 128


def resolve_data(data: DataConfig, facts: Typical, has_gpu: bool = False) -> DataConfig:
    """`data` with size, mean and std filled in; what the user gave stays. One value for all channels becomes three."""
    mean, std = STATISTICS.get(data.source, IMAGENET_STATISTICS)
    return data.changed(
        size=data.size or default_size(facts, has_gpu),
        mean=_three(data.mean or mean),
        std=_three(data.std or std),
    )


def stored_size(data: DataConfig) -> int:
    """The side at which images are kept, from which crops are cut; also the manifest's `short_side`.

    Pictures of 96 px and more are kept 8/7 as large as the network sees them (256 for 224, as ImageNet is evaluated), so
    that crops keep some resolution and evaluation leaves out the margin. The difference is even: the centre is exact.
    """
    if data.size is None:
        raise ValueError("data.size is not known yet: call resolve_data first")
    if isinstance(data, FolderData | ImageNetData) and data.size >= 96:
        return data.size + 2 * round(data.size / 14)
    return data.size


def _three(values: tuple[float, ...]) -> tuple[float, ...]:
    return values * 3 if len(values) == 1 else values
