"""A job of kind index: builds, tells how far it is, and stops between two batches when it is asked to. Knows no torch."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ssl_core.events import Events, Stopped
from ssl_core.search.build import build_index
from ssl_core.search.vectors import VectorFolder
from ssl_core.spec.index import IndexSpec

INDEX = "index"
SAY_SECONDS = 1.0
PASSES = {"indexing": 0, "neighbours": 1}  # over all pictures; saving is short


class NotTheEncoders(ValueError):
    """The vectors were made by another encoder."""


def index_vectors(
    spec: IndexSpec, vectors: Path, out: Path, *, events: Events, asked_to_stop: Callable[[], bool] = lambda: False
) -> Path:
    """Index the folder `vectors`; returns the folder of the index, out/index.

    Raises BadVectors, NotTheEncoders, Stopped, and OSError when the disk is full.
    """
    source = VectorFolder(vectors)
    if source.encoder != spec.encoder:
        raise NotTheEncoders(f"the vectors of {spec.vectors} were made by {source.encoder}, not by {spec.encoder}")
    events.emit("data", images=source.rows, held_out=0)
    said = _Said(events, source.rows, asked_to_stop)
    facts = build_index(vectors, out / INDEX, job=spec.vectors, data=spec.data, report=said)
    events.emit("data", images=facts.count, held_out=0, unreadable=facts.left_out, unreadable_examples=[])
    return out / INDEX


class _Said:
    """What `build_index` reports, as events: a step is a picture in one of two passes."""

    def __init__(self, events: Events, images: int, asked_to_stop: Callable[[], bool]) -> None:
        self.events, self.images, self.asked_to_stop = events, images, asked_to_stop
        self.phase = ""
        self.began = self.at = time.monotonic()

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self.asked_to_stop():
            raise Stopped(0)  # a graph that is half built cannot be taken up again: the next attempt begins anew
        now = time.monotonic()
        if phase != self.phase:
            self.phase, self.began = phase, self.at
            self.events.emit("phase", phase=phase)
        elif now - self.at < SAY_SECONDS and done < total:
            return
        self.at = now
        if done == 0:
            return
        speed = done / max(now - self.began, 1e-9)
        fraction = (PASSES[phase] + done / total) / len(PASSES)
        whole = len(PASSES) * self.images
        left = (1 - fraction) * whole / speed
        self.events.emit(
            "progress",
            step=int(fraction * whole),
            steps_total=whole,
            fraction=fraction,
            images_per_second=speed,
            eta_seconds=left,
        )
