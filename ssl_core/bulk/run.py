"""A folder of pictures to a folder of Parquet files.

    embed_folder(spec, encoder, out, …) -> out/vectors: part-00000.parquet, part-00001.parquet, …, result.json

One row a picture, in the order of the paths. A shard appears when it is whole; a later attempt goes on after the last. Decoding
runs in other processes while the encoder works, and neither the number of pictures nor that of shards is kept in memory. Knows
no torch: it is imported with the encoder, on GPUs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_core.bulk.pictures import BATCH, Decoded, Pictures
from ssl_core.bulk.plan import Plan, earlier_plan, make_plan, part_name, take_over
from ssl_core.bulk.shards import Part, Rows, examples_of, part_of, schema_of, write_shard
from ssl_core.data.machine import cpus, return_freed_memory
from ssl_core.data.reading import bounds_of
from ssl_core.data.sources import every_file, folder_below
from ssl_core.durable import write_atomically
from ssl_core.embedder import Embedder
from ssl_core.events import Events, Stopped
from ssl_core.inference.base import unit
from ssl_core.preparing import moving, preparing
from ssl_core.spec import FolderData, ImageNetData
from ssl_core.spec.embed import EmbedSpec

VECTORS, RESULT = "vectors", "result.json"
LISTED = 20  # pictures with an error that are named; all of them are counted
SAY_SECONDS = 1.0
NOT_FINITE = "the encoder gives values that are not finite"


class NoSuchDimensions(ValueError):
    """The encoder cannot give as many dimensions as were asked for."""


def embed_folder(
    spec: EmbedSpec,
    encoder: Path,
    out: Path,
    *,
    data_root: Path,
    events: Events,
    resume: Sequence[Path] = (),
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Embed every picture of `spec.data` with the encoder in the folder `encoder`; returns the folder of the result.

    resume: folders of earlier attempts, newest first. Raises DataError, EncoderError, NoSuchDimensions, Stopped, and OSError
    when the disk is full. A step of Stopped is an image in a whole shard.
    """
    folder = out / VECTORS
    folder.mkdir(parents=True, exist_ok=True)
    before = [each / VECTORS for each in resume]
    with preparing(events, asked_to_stop):
        plan = earlier_plan(folder, before) or _planned(spec, data_root, folder)
    run = _Run(spec, plan, folder, Embedder.load(encoder, streams=workers_of(spec)), events, asked_to_stop)
    found = {"images": plan.images, "held_out": 0, "fingerprint": plan.fingerprint}
    events.emit("data", **found)
    done = take_over(plan, run.schema, folder, before)
    if done:
        events.emit("resumed", file=part_name(done - 1), step=min(done * plan.shard_images, plan.images))
    if done < plan.shards:
        assert isinstance(spec.data, FolderData | ImageNetData)
        events.emit("phase", phase="embedding")
        with moving(events, "embedding"):
            run.embed(folder_below(data_root, spec.data.path), bounds_of(data_root), range(done, plan.shards))
    parts = [part_of(folder / part_name(shard)) for shard in range(plan.shards)]
    events.emit("data", **found, unreadable=sum(part.errors for part in parts), unreadable_examples=_examples(folder, parts))
    write_atomically(folder / RESULT, lambda file: file.write(json.dumps(run.result(parts), indent=1).encode()))
    return folder


def workers_of(spec: EmbedSpec) -> int:
    """Decoders, and streams of the network on a CPU."""
    return cpus() if spec.data.workers == "auto" else max(1, spec.data.workers)


def _planned(spec: EmbedSpec, data_root: Path, folder: Path) -> Plan:
    found, fingerprint = every_file(spec.data, data_root)
    plan = make_plan(found, fingerprint, spec.shard_images, folder)
    del found
    return_freed_memory()  # of the listing, before the encoder needs some
    return plan


def _examples(folder: Path, parts: Sequence[Part]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for part in parts:
        if part.errors and len(found) < LISTED:
            found += examples_of(folder / part.file, LISTED - len(found))
    return found


class _Run:
    """What is the same for every shard."""

    def __init__(
        self,
        spec: EmbedSpec,
        plan: Plan,
        folder: Path,
        embedder: Embedder,
        events: Events,
        asked_to_stop: Callable[[], bool],
    ) -> None:
        self.spec, self.plan, self.folder, self.embedder = spec, plan, folder, embedder
        self.events, self.asked_to_stop = events, asked_to_stop
        self.projection = embedder.projection if spec.dimensions is not None else None
        most = 0 if self.projection is None else self.projection.most
        if spec.dimensions is not None and spec.dimensions > most:
            can = f"can give 1 to {most}" if most else "was exported without principal components: leave dimensions out"
            raise NoSuchDimensions(f"dimensions = {spec.dimensions}; this encoder {can}")
        self.dim = spec.dimensions or embedder.dim
        about = {"encoder": spec.encoder, "sha256": embedder.facts.sha256, "dimension": str(self.dim)}
        self.schema = schema_of(self.dim, {**about, "normalize": json.dumps(spec.normalize)})
        self.began = self.said = time.monotonic()
        self.embedded = 0  # by this attempt

    def embed(self, root: Path, bounds: str, shards: Iterable[int]) -> None:
        """Embed the pictures below `root` of these shards, one shard after the other; see reading.py. Raises Stopped."""
        workers = workers_of(self.spec)
        ahead = 0 if self.embedder.backend.name == "openvino" else 2
        short_side = self.embedder.facts.preprocessing.resize.short_side
        with Pictures(root, self.embedder.size, short_side, workers, ahead, bounds=bounds) as pictures:
            embedded = pictures.each(self._batches(shards), self._rows)  # of all shards: one is written while the next begins
            for shard in shards:
                name, done = part_name(shard), shard * self.plan.shard_images
                rows = self._embedded(islice(embedded, ceil(self.plan.rows(shard) / BATCH)), done)
                write_atomically(self.folder / name, partial(write_shard, schema=self.schema, batches=rows))
                self.events.emit("checkpoint", file=name, epoch=0, step=done + self.plan.rows(shard))

    def _batches(self, shards: Iterable[int]) -> Iterator[Sequence[str]]:
        """Paths; no batch has some of two shards, so that vectors do not depend on where an attempt began."""
        for shard in shards:
            paths = self.plan.paths(self.folder, shard)
            yield from (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))

    def _embedded(self, batches: Iterable[Rows], before: int) -> Iterator[Rows]:
        done = before
        for rows in batches:
            if self.asked_to_stop():
                raise Stopped(before)
            yield rows
            done += len(rows.paths)
            self._say(len(rows.paths), done)

    def result(self, parts: list[Part]) -> dict[str, object]:
        """The content of result.json."""
        return {
            "format_version": 1,
            "encoder": self.spec.encoder,
            "sha256": self.embedder.facts.sha256,
            "dim": self.dim,
            "dtype": "float32",
            "normalize": self.spec.normalize,
            "dimensions": self.spec.dimensions,
            "images": self.plan.images,
            "errors": sum(part.errors for part in parts),
            "size_bytes": sum(part.size_bytes for part in parts),
            "fingerprint": self.plan.fingerprint,
            "shards": [asdict(part) for part in parts],
        }

    def _rows(self, decoded: Decoded) -> Rows:
        errors = list(decoded.errors)
        good = np.array([error is None for error in errors], bool)
        vectors = np.zeros((len(errors), self.dim), np.float32)
        vectors[good] = self._vectors(decoded.pixels if good.all() else decoded.pixels[good])
        for at in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
            errors[at] = NOT_FINITE
        return Rows(decoded.paths, vectors, errors)

    def _vectors(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, size, size, 3) uint8 -> (N, dim) float32, shortened and normalised as POST /embed does."""
        values = self.embedder.embed(pixels)
        if self.projection is not None:
            values = self.projection(values, self.dim)
        if self.spec.normalize:
            values = unit(values)
        return values

    def _say(self, more: int, done: int) -> None:
        self.embedded += more
        now = time.monotonic()
        if now - self.said < SAY_SECONDS and done < self.plan.images:
            return
        self.said = now
        speed = self.embedded / max(now - self.began, 1e-9)
        self.events.emit(
            "progress",
            step=done,
            steps_total=self.plan.images,
            fraction=done / self.plan.images,
            images_per_second=speed,
            eta_seconds=(self.plan.images - done) / speed,
        )
