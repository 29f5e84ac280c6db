"""All batches of a run as one stream, and their views drawn on the device.

For Lightning the whole run is one epoch: then every stop is a stop within an epoch, resumes take one path, and the position
in the stream is the number of optimiser steps done (docs/decisions/0003-one-stream.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch

from ssl_core.augment import make_views
from ssl_core.clock import StepClock
from ssl_core.data.batch import Batch, RawBatch
from ssl_core.data.batches import TrainBatches
from ssl_core.spec import AugmentConfig


class Stream:
    """Yields RawBatch from step `start` on to the last step of the last epoch, each in `parts` equal parts if they are several.

    Its length, for Lightning, is the number of parts in the whole run.
    """

    def __init__(self, batches: TrainBatches, epochs: int, start: int, clock: StepClock | None = None, parts: int = 1) -> None:
        self.batches = batches
        self.epochs = epochs
        self.start = start
        self.clock = clock or StepClock()
        self.parts = parts

    def __len__(self) -> int:
        return self.steps * self.parts

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return len(self.batches) * self.epochs

    def __iter__(self) -> Iterator[RawBatch]:
        first, skip = divmod(self.start, len(self.batches))
        for epoch in range(first, self.epochs):
            self.batches.load_state_dict({"epoch": epoch, "position": skip if epoch == first else 0})
            iterator = iter(self.batches)
            while True:
                with self.clock.stage("data_wait"):
                    batch = next(iterator, None)
                if batch is None:
                    break
                if self.parts == 1:
                    yield batch
                else:
                    yield from map(RawBatch, batch.images.chunk(self.parts), batch.index.chunk(self.parts))

    # Lightning asks a loader that can be resumed for its state; ours is the step, which the checkpoint holds anyway.
    def state_dict(self) -> dict[str, Any]:
        """Nothing that the number of steps does not say."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do: `start` was given."""


class ViewModule(pl.LightningDataModule):
    """Feeds a Method: moves uint8 images to the device and draws both views there."""

    def __init__(
        self, stream: Stream, augment: AugmentConfig, size: int, mean: tuple[float, ...], std: tuple[float, ...], seed: int
    ) -> None:
        super().__init__()
        self.stream = stream
        self.augment = augment
        self.size, self.mean, self.std, self.seed = size, mean, std, seed

    def train_dataloader(self) -> Stream:
        """The one stream."""
        return self.stream

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """The views, float32 channels-last, as a function of seed, epoch and image index."""
        assert self.trainer is not None
        epoch = self.trainer.global_step // len(self.stream.batches)
        with self.stream.clock.stage("augment"):
            drawn = make_views(batch.images, self.augment, self.size, self.mean, self.std, self.seed, epoch, batch.index)
            views = tuple(view.contiguous(memory_format=torch.channels_last) for view in drawn)
        return Batch(views, batch.index)
