"""The recipe of the reference implementation, to compare with: the code of the BYOL blog post.

Repository imbue-ai/self_supervised, first published as untitled-ai/self_supervised (MIT), at commit 8005512. Nothing is copied:
its facts are stated here with their place in its files, and written anew from torchvision's own transforms.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # utils.py `get_moco_dataset`: the reference's for CIFAR-10

Views = tuple[Tensor, Tensor]


def reference_transform(
    size: int, blur: bool, mean: Sequence[float] = MEAN, std: Sequence[float] = STD
) -> Callable[[Image.Image], Views]:
    """Two views, float32 (3, size, size) each, of an RGB PIL image: utils.py `MoCoTransforms`, with its default s = 0.5.

    In its order: crop of 20 to 100 % of the area, colour jitter 0.4/0.4/0.4/0.1 with probability 0.8, grayscale 0.2, flip 0.5,
    Gaussian blur 0.5 where `blur` (its default; its README turns it off for CIFAR-10), to tensor, normalise. The reference builds
    its list of transforms anew for every image; here it is built once, in the reference's favour.
    """
    steps: list[Callable[..., Any]] = [
        transforms.RandomResizedCrop(size, scale=(0.2, 1.0)),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.RandomHorizontalFlip(),
    ]
    if blur:
        steps.append(transforms.RandomApply([_blur], p=0.5))
    steps += [transforms.ToTensor(), transforms.Normalize(mean, std)]
    return _TwoViews(transforms.Compose(steps))


class _TwoViews:
    """A class and not a closure, because DataLoader workers may have to be sent it."""

    def __init__(self, transform: Callable[[Image.Image], Tensor]) -> None:
        self.transform = transform

    def __call__(self, image: Image.Image) -> Views:
        return self.transform(image), self.transform(image)


def _blur(image: Image.Image) -> Image.Image:
    """utils.py `GaussianBlur`: Pillow's blur, whose radius is the standard deviation, uniform in [0.1, 2] pixels."""
    return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


class ReferenceImages(Dataset[tuple[Views, int]]):
    """((view_a, view_b), label) of the images in class folders, in torchvision's order of classes and files.

    read: "files" opens and decodes an image each time it is asked for, as the reference does for ImageNet (`ImageFolder`);
    "arrays" decodes all of them once and keeps uint8 arrays, as it does for CIFAR-10 and STL-10 (torchvision's datasets).
    """

    def __init__(
        self, folder: Path, transform: Callable[[Image.Image], Views], read: Literal["files", "arrays"] = "files"
    ) -> None:
        self.files = ImageFolder(str(folder))
        self.transform = transform
        self.arrays = [np.asarray(image) for image, _ in self.files] if read == "arrays" else None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[Views, int]:
        if self.arrays is None:
            image, label = self.files[number]
        else:
            image, label = Image.fromarray(self.arrays[number]), self.files.targets[number]
        return self.transform(image), label


def reference_loader(dataset: Dataset[Any], batch_size: int, workers: int) -> DataLoader[Any]:
    """Shuffled batches without the last, smaller one: moco.py `train_dataloader`, whose default is 4 workers.

    The reference always asks for pinned memory; without a GPU that does nothing but warn.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
        shuffle=True,
    )


def reference_stem(resnet: nn.Module) -> nn.Module:
    """Give a torchvision ResNet the stem that the reference has for CIFAR-10, in place: utils.py `get_encoder`.

    3×3, stride 1, padding 2, no max-pool: 32 px become maps of 34×34. For STL-10 (96 px) and ImageNet (224 px) the reference
    keeps the standard stem, 7×7 with stride 2 and a max-pool.
    """
    resnet.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
    resnet.maxpool = nn.Identity()
    return resnet


@torch.no_grad()
def reference_ema(target: nn.Module, online: nn.Module, m: float) -> None:
    """target ← m·target + (1 - m)·online for each parameter, into new memory: moco.py `_momentum_update_key_encoder`."""
    for old, new in zip(target.parameters(), online.parameters(), strict=True):
        old.data = old.data * m + new.data * (1.0 - m)
