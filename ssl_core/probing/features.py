"""Features of all pictures of a side, taken once with the encoder as it is served, and kept in shards.

A shard is whole or not there, so that a later attempt goes on after the last; vectors do not depend on where it began.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.data.store import ImageStore, center
from ssl_core.durable import write_atomically
from ssl_core.embedder import Embedder
from ssl_core.inference.base import AT_ONCE
from ssl_core.probing.data import in_order, labels_of

SHARD = 64 * AT_ONCE  # pictures
ABOUT = "about.json"


class Features:
    """Where an attempt keeps its shards: its own folder, and those of earlier attempts at the very same thing."""

    def __init__(self, folder: Path, earlier: Sequence[Path], about: dict[str, Any]) -> None:
        """about: what the features are of; folders that say something else are not used."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if _about(folder) != about:
            write_atomically(folder / ABOUT, lambda file: file.write(json.dumps(about).encode()))
        self.folders = [folder, *(each for each in earlier if _about(each) == about)]

    def take(
        self, name: str, store: ImageStore, embedder: Embedder, kept: Callable[[str, int], None], done: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Features float32 (n, dim) and labels int64 (n,) of the pictures of `store` that can be read.

        `done(images)` hears of each batch and may raise; `kept(file, images)` of each shard that is new or was found.
        Rows of pictures that cannot be read hold NaN in the shards.
        """
        parts = []
        for number, start in enumerate(range(0, len(store), SHARD)):
            file, rows = f"{name}-{number:05}.npy", min(SHARD, len(store) - start)
            part = self._found(file, (rows, embedder.dim))
            if part is None:
                part = self._shard(store, embedder, start, rows, done)
                made = part
                write_atomically(self.folder / file, lambda out, made=made: np.save(out, made, allow_pickle=False))  # type: ignore[misc]
            else:
                done(rows)
            kept(file, rows)
            parts.append(part)
        values = torch.from_numpy(np.concatenate(parts))
        good = values.isfinite().all(dim=1)
        return values[good], labels_of(store)[good]

    def _found(self, file: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
        for folder in self.folders:
            if (folder / file).is_file():
                part: NDArray[np.float32] = np.load(folder / file, allow_pickle=False)
                if part.shape == shape and part.dtype == np.float32:
                    return part
        return None

    def _shard(
        self, store: ImageStore, embedder: Embedder, start: int, rows: int, done: Callable[[int], None]
    ) -> NDArray[np.float32]:
        part = np.full((rows, embedder.dim), np.nan, np.float32)
        for batch in in_order(store, start, start + rows, AT_ONCE):
            squares = center(batch.images, embedder.size).permute(0, 2, 3, 1).contiguous().cpu().numpy()
            if len(squares):
                part[batch.index.numpy() - start] = embedder.embed(squares)
            done(len(squares))
        return part


class FeatureStore:
    """Features float32 (N, dim) in the place of images, for what goes through images by their numbers."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features = features
        self.labels: Tensor | None = labels

    @property
    def size(self) -> int:
        return self.features.shape[1]

    def __len__(self) -> int:
        return len(self.features)

    def batch(self, indices: Tensor) -> Tensor:
        return self.features[indices.to(self.features.device)]


def _about(folder: Path) -> Any:
    try:
        return json.loads((folder / ABOUT).read_bytes())
    except (OSError, ValueError):
        return None
