"""Which pictures are shown, and their views: those of the first epochs, exactly as training draws them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.augment import make_views
from ssl_core.data.errors import DataError
from ssl_core.data.load import load_data
from ssl_core.data.scan import iterate_sample
from ssl_core.data.sources import describe, index_folder, resolve_data, stored_size
from ssl_core.data.store import FileStore, ImageStore
from ssl_core.preview import words
from ssl_core.preview.drawing import LARGEST, Group, Row, draw, scaled
from ssl_core.spec import DataConfig, FolderData, ImageNetData, TrainSpec

IMAGES, EPOCHS = 8, 3
MOST_VIEWS = 8  # in a row: with more views an epoch, or large ones, which take long, fewer epochs are shown
NAMED = 3  # unreadable files that are named; all of them are counted


def contact_sheet(spec: TrainSpec, data_root: Path, images: int = IMAGES, epochs: int = EPOCHS) -> bytes:
    """A PNG of what a run of this spec will see. Of a folder it decodes only the files it shows; it downloads nothing.

    `images`: rows, at least 1, spread evenly over the training images. `epochs`: how many of the first ones, at least 1; fewer
    are shown where views are many or large.

    The numbers that choose a view are a function of seed, epoch and the image's number in the store. Unreadable files are
    passed over, as in training; a run that keeps its images decoded numbers only the readable ones, so behind an
    unreadable file its draws are others of the same distribution (its own sheet, `sheet_of`, shows them). Raises DataError.
    """
    store, data = _opened(spec.data, data_root)
    return sheet_of(store, spec.changed(data=data.model_dump()).with_local_side(), images, epochs)


def sheet_of(store: ImageStore, spec: TrainSpec, images: int = 6, epochs: int = EPOCHS) -> bytes:
    """The sheet of images that are loaded: `store` is what the run trains on, `spec.data` has size, mean and std.

    One row per image: the square that is kept of it, then the views of the first epochs. One image's views are in memory at
    a time, besides the sheet itself. Raises DataError if no image can be read.
    """
    if images < 1 or epochs < 1:
        raise ValueError(f"images = {images} and epochs = {epochs} must be at least 1")
    size, epochs = spec.data.size, min(epochs, spec.trainer.max_epochs)
    assert size is not None
    rows, counts = [], [0]
    for number, square in _chosen(store, images):
        drawn: list[list[NDArray[Any]]] = []
        for epoch in range(epochs):
            if drawn and (len(drawn[0]) * (epoch + 1) > MOST_VIEWS or size > LARGEST):
                break
            drawn.append(views_of(square, spec, epoch, number))
        counts = [len(views) for views in drawn]
        kept = square[0].permute(1, 2, 0).cpu().numpy()
        cells = [scaled(each, size) for each in (kept, *(view for views in drawn for view in views))]
        rows.append(Row(cells, _name(store, number)))
    groups = [Group("picture", [f"as it is kept, {store.size} px"])]
    groups += [Group(f"epoch {epoch + 1}", words.view_names(count)) for epoch, count in enumerate(counts)]
    title, settings, passed_over = words.title(spec, len(store)), words.settings(spec.augment), words.passed_over(*_unread(store))
    return draw(title, settings, groups, rows, size, passed_over)


def views_of(square: Tensor, spec: TrainSpec, epoch: int, number: int) -> list[NDArray[Any]]:
    """The views of one image, uint8 (side, side, 3) each: what training feeds the network, with the normalisation undone.

    `square` uint8 (1, 3, S, S); `number` is the image's in its store.
    """
    data = spec.data
    assert data.size and data.mean and data.std
    index = torch.tensor([number], device=square.device)
    views = make_views(square, spec.augment, data.size, data.mean, data.std, spec.trainer.seed, epoch, index)
    mean, std = (torch.tensor(values, device=square.device).view(1, -1, 1, 1) for values in (data.mean, data.std))
    pixels = ((view * std + mean).mul(255).round().clamp(0, 255) for view in views)
    return [each[0].permute(1, 2, 0).to("cpu", torch.uint8).numpy() for each in pixels]


def _chosen(store: ImageStore, images: int) -> Iterator[tuple[int, Tensor]]:
    """(number, uint8 (1, 3, S, S)) of the images to show, one after the other, none of them twice."""
    seen: set[int] = set()
    for wanted in iterate_sample(len(store), images):
        index = torch.tensor([wanted])
        square, really = store.substitute(index) if isinstance(store, FileStore) else (store.batch(index), index)
        number = int(really)
        if number not in seen:
            seen.add(number)
            yield number, square


def _opened(data: DataConfig, data_root: Path) -> tuple[ImageStore, DataConfig]:
    """The training images, decoded when they are asked for, and the config with size, mean and std filled in."""
    has_gpu = torch.cuda.is_available()
    if isinstance(data, FolderData | ImageNetData):
        index, facts = index_folder(data, data_root)
        data = resolve_data(data, facts, has_gpu)
        return FileStore(index.root, index.train, stored_size(data), bounds=index.found.bounds), data
    facts = describe(data, data_root)
    if not facts.readable:
        raise DataError("/data/download", f"{data.source} is not there yet.", "A preview downloads nothing; a job does.")
    data = resolve_data(data, facts, has_gpu)
    return load_data(data.changed(in_memory="never"), data_root, max_eval_images=0).train, data


def _name(store: ImageStore, number: int) -> str:
    paths: Sequence[str] = store.paths if isinstance(store, FileStore) else ()
    return f"image {number:,}" + (f": {paths[number]}" if paths else "")


def _unread(store: ImageStore) -> tuple[list[tuple[str, str]], int]:
    """The first unreadable files that were met, with their reasons, and how many there were."""
    if not isinstance(store, FileStore):
        return [], 0
    return [(store.paths[number], reason) for number, reason in sorted(store.unreadable.items())][:NAMED], len(store.unreadable)
