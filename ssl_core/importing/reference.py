"""What a checkpoint of the reference implementation says about itself, in our words.

Its hyper-parameters name the encoder, the dataset and, by a dozen switches, the method; sizes and normalisation are not in the
file but in its code: every dataset is normalised as ImageNet, STL-10 is seen at 96 px and ImageNet at 224 px; pictures to measure
on are resized to 128 px below 128 px, else to 256 px, and their centre is cut out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZES = {"stl10": 96, "cifar10": 32, "imagenet": 224}
PADDED = (
    "the reference implementation pads the first convolution for CIFAR by 2 pixels, and this network by 1: vectors differ a "
    "little from those it gave there"
)


@dataclass(frozen=True)
class Said:
    """None where the checkpoint does not say."""

    arch: str | None
    method: str
    data: str
    size: int | None
    short_side: int | None


def is_reference(hyper_parameters: Any) -> bool:
    """Whether these are hyper-parameters of that implementation."""
    return isinstance(hyper_parameters, Mapping) and isinstance(hyper_parameters.get("encoder_arch"), str)


def said(hyper: Mapping[str, Any]) -> Said:
    """The hyper-parameters in our words."""
    data = str(hyper.get("dataset_name") or "unknown")[:100]
    given = hyper.get("transform_crop_size")
    size = given if type(given) is int and given > 0 else _SIZES.get(data)
    short = None if size is None else 32 if data == "cifar10" else 128 if size < 128 else max(256, size)
    return Said(str(hyper["encoder_arch"]), _method(hyper), data, size, short)


def _method(hyper: Mapping[str, Any]) -> str:
    """Negatives from the batch win over those from the queue where both are on, as there."""
    if hyper.get("use_vicreg_loss"):
        return "vicreg"
    if hyper.get("use_negative_examples_from_batch"):
        return "simclr"
    return "moco" if hyper.get("use_negative_examples_from_queue", True) else "byol"
