"""What the network sees of a picture while it is measured: as POST /embed would show it, or a new crop in every epoch."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_core.augment import make_view, normalise
from ssl_core.augment.draw import Purpose
from ssl_core.augment.random import uniforms
from ssl_core.data.batch import RawBatch
from ssl_core.manifest import Preprocessing
from ssl_core.spec import ViewConfig
from ssl_core.spec.probe import Augment

_PLAIN = {"crop_scale": (0.08, 1.0), "jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
CROPS = {"crop": ViewConfig(**_PLAIN, flip=0.0), "crop_flip": ViewConfig(**_PLAIN, flip=0.5)}


class Views:
    """By an encoder's own preprocessing, on a device: float32 (n, 3, size, size), channels last."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self.preprocessing, self.device = preprocessing, device

    def plain(self, batch: RawBatch) -> Tensor:
        """The centre, as it is served."""
        return _last(normalise(batch.images.to(self.device), *self._standard))

    def drawn(self, batch: RawBatch, augment: Augment, seed: int, epoch: int) -> Tensor:
        """By the name of an augmentation: a function of seed, epoch and image."""
        if augment == "none":
            return self.plain(batch)
        images, index = batch.images.to(self.device), batch.index.to(self.device)
        size, mean, std = self._standard
        random = uniforms(seed, epoch, index, 0, Purpose.COUNT)
        return _last(make_view(images, CROPS[augment], size, random, mean, std))

    @property
    def _standard(self) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
        return self.preprocessing.size, self.preprocessing.mean, self.preprocessing.std


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
