"""Describe a data source without decoding it: how many images, which classes, how large. Knows no torch.

describe(data, data_root) -> SourceFacts        raises DataError(pointer, message, hint)
index_folder(data, data_root) -> FolderIndex    the files themselves (folder and imagenet)
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from statistics import median

from ssl_core.data.defaults import default_size, resolve_data, stored_size
from ssl_core.data.errors import BadImage, DataError
from ssl_core.data.moving import moved
from ssl_core.data.paths import Paths
from ssl_core.data.reading import bounds_of, open_below
from ssl_core.data.scan import HELD_OUT, TRAIN, FolderIndex, Scan, iterate_sample, scan, split
from ssl_core.spec import Cifar10Data, DataConfig, DatasetData, DigitsData, FolderData, ImageNetData, Stl10Data

SAMPLE = 64  # headers read for the typical size, and files whose beginning enters the fingerprint
SAMPLE_BYTES = 65536
DIGITS_IMAGES = 1797
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
STL10_BYTES = 3 * 96 * 96
CIFAR10_FOLDER, STL10_FOLDER = "cifar-10-batches-py", "stl10_binary"
CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
STL10_FILES = ("train_X.bin", "train_y.bin", "unlabeled_X.bin", "test_X.bin", "test_y.bin")


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source before its images are decoded."""

    source: str
    images: int  # to train on
    held_out: int
    classes: tuple[str, ...] | None
    typical_size: tuple[int, int] | None  # width, height in pixels: the median of a sample
    channels: int  # 1: all of the sample is grayscale, 3
    readable: bool  # the files are there and of the sample at least one opens
    fingerprint: str  # "sha256:…"
    problems: tuple[str, ...]  # sentences worth a warning


def describe(data: DataConfig, data_root: Path) -> SourceFacts:
    """Facts of a source. Reads folder listings, sizes and at most 64 headers.

    The fingerprint covers the relative path and size of every file and the first 64 KiB of 64 files, evenly spread: it
    stays the same when a folder is copied or touched. Raises DataError.
    """
    if isinstance(data, DigitsData):
        held = digits_held_out(data.held_out)
        names = tuple(str(digit) for digit in range(10))
        return SourceFacts("digits", DIGITS_IMAGES - held, held, names, (8, 8), 1, True, _digits_fingerprint(), ())
    if isinstance(data, Cifar10Data):
        return _packed(data, data_root, CIFAR10_FOLDER, CIFAR10_FILES)
    if isinstance(data, Stl10Data):
        return _packed(data, data_root, STL10_FOLDER, STL10_FILES)
    if isinstance(data, DatasetData):
        raise DataError("/data/source", f"the dataset {data.id} is known to the service only.", "Use 'folder' with its path.")
    return index_folder(data, data_root)[1]


def index_folder(data: FolderData | ImageNetData, data_root: Path) -> tuple[FolderIndex, SourceFacts]:
    """The files of a folder source, and what `describe` tells of it. Raises DataError."""
    found = _scan(data, data_root)
    index = _split(data, found)
    return index, _folder_facts(data, found, index)


def every_file(data: DataConfig, data_root: Path) -> tuple[Scan, str]:
    """All images of a folder, those trained on and all others, in the order of their paths; and their fingerprint.

    Raises DataError, also for a source whose images are not files of their own.
    """
    if not isinstance(data, FolderData | ImageNetData):
        hint = "Use 'folder', 'imagenet', or 'dataset' with the id of a registered folder."
        raise DataError("/data/source", f"the images of {data.source!r} are not files of their own.", hint)
    found = _scan(data, data_root)
    _not_empty(data, found)
    return found, _fingerprint(found)


def digits_held_out(share: float) -> int:
    """How many of the digits are held out: the share rounded up, as scikit-learn's train_test_split does."""
    return min(ceil(DIGITS_IMAGES * share), DIGITS_IMAGES - 1)


def folder_below(data_root: Path, path: str) -> Path:
    """data_root/path, proven to exist and, links followed, to lie below the data root. Raises DataError."""
    if not data_root.is_dir():
        raise DataError("/data/path", f"the data root {str(data_root)!r} is not a folder.", "Set IMPRINT_DATA_ROOT.")
    folder, bounds = data_root / path, Path(os.path.realpath(data_root))
    if not Path(os.path.realpath(folder)).is_relative_to(bounds):
        raise DataError("/data/path", f"{path!r} leads out of the data root.", "Use a folder that lies below the data root.")
    if not os.path.exists(folder):  # False for a name that is too long, where Path.exists raises
        raise DataError("/data/path", f"there is no folder {path!r} below the data root.", _there_is(data_root))
    if not folder.is_dir():
        raise DataError("/data/path", f"{path!r} is a file, not a folder.", "Name the folder that holds the images.")
    return folder


def _scan(data: FolderData | ImageNetData, data_root: Path) -> Scan:
    root = folder_below(data_root, data.path)
    if isinstance(data, ImageNetData):
        for name in (TRAIN, "val"):
            if not (root / name).is_dir():
                raise DataError(
                    "/data/path",
                    f"{data.path!r} has no folder {name!r}.",
                    "ImageNet needs train/<class>/*.JPEG and val/<class>/*.JPEG (torchvision's layout).",
                )
    return scan(root, data_root)


def _not_empty(data: FolderData | ImageNetData, found: Scan) -> None:
    if not found.paths:
        other = f" ({found.other_files:,} files with other endings)" if found.other_files else ""
        hint = "Images end in .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp, .gif, .avif or .heic."
        raise DataError("/data/path", f"{data.path!r} holds no images{other}.", hint)


def _split(data: FolderData | ImageNetData, found: Scan) -> FolderIndex:
    _not_empty(data, found)
    if isinstance(data, FolderData):
        return split(found, data.held_out, data.labels)
    index = split(found, 0.0, "auto")
    if index.classes is None or not index.held_out:
        raise DataError(
            "/data/path",
            f"{data.path!r} is not sorted into class folders.",
            "ImageNet needs train/<class>/*.JPEG and val/<class>/*.JPEG (torchvision's layout).",
        )
    return index


def _folder_facts(data: FolderData | ImageNetData, found: Scan, index: FolderIndex) -> SourceFacts:
    size, channels, broken = _typical(found.root, index.train, found.bounds)
    notes = list(index.notes)
    sampled = min(SAMPLE, len(index.train))
    if broken:
        notes.append(f"{broken} of {sampled} sampled images cannot be opened; unreadable images are skipped.")
    if found.links_out:
        notes.append(f"{found.links_out:,} symbolic links lead out of the data root and are not followed.")
    if not index.held_out:
        notes.append(f"No image is held out: {len(index.train):,} images are too few for held_out to choose from.")
    return SourceFacts(
        data.source,
        len(index.train),
        len(index.held_out),
        index.classes,
        size,
        channels,
        size is not None,
        _fingerprint(found),
        tuple(notes),
    )


def _typical(root: Path, paths: Paths, bounds: str) -> tuple[tuple[int, int] | None, int, int]:
    """((median width, median height), channels, how many do not open) of an evenly spread sample of headers."""
    from ssl_core.data.images import header  # numpy and Pillow: not needed to import this module

    sizes, channels, broken = [], 1, 0
    for at in iterate_sample(len(paths), SAMPLE):
        moved()
        try:
            size, bands = header(root / paths[at], bounds)
        except BadImage:
            broken += 1
            continue
        sizes.append(size)
        channels = max(channels, bands)
    if not sizes:
        return None, 3, broken
    return (round(median(w for w, _ in sizes)), round(median(h for _, h in sizes))), channels, broken


def _fingerprint(found: Scan) -> str:
    digest = sha256()
    for path, size in zip(found.paths.encoded(), found.sizes, strict=True):
        digest.update(b"%b\0%d\n" % (path, size))
    for at in iterate_sample(len(found.paths), SAMPLE):
        moved()
        digest.update(_beginning(found.root / found.paths[at], found.bounds))
    return f"sha256:{digest.hexdigest()}"


def _beginning(path: Path, bounds: str) -> bytes:
    try:
        with open_below(path, bounds) as file:
            return file.read(SAMPLE_BYTES)
    except OSError:  # gone or not permitted: found again, with its reason, when the images are read
        return b""


@lru_cache(maxsize=1)
def _digits_fingerprint() -> str:
    spec = find_spec("sklearn")  # finds the package without importing it
    for place in spec.submodule_search_locations or () if spec else ():
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return f"sha256:{sha256(file.read_bytes()).hexdigest()}"
    raise DataError("/data/source", "the digits come with scikit-learn, which is not installed.", "pip install scikit-learn")


def _packed(data: Cifar10Data | Stl10Data, data_root: Path, folder: str, files: Iterable[str]) -> SourceFacts:
    """Facts of a dataset of known shape that lies in a few large files."""
    notes: tuple[str, ...] = ()
    sizes: list[tuple[str, int]] = []
    place = data_root / data.path / folder
    if data.download and not os.path.isdir(place):
        folder_below(data_root, data.path)
        notes = (f"{folder} is not there yet and will be downloaded.",)
    else:
        place = (
            folder_below(data_root, str(Path(data.path) / folder)) if os.path.isdir(place) else _absent(data, data_root, folder)
        )
        missing = [name for name in files if not (place / name).is_file()]
        if missing:
            raise DataError("/data/path", f"{data.path}/{folder} lacks {', '.join(missing)}.", "Unpack the archive once more.")
        sizes = [(name, (place / name).stat().st_size) for name in files]
    digest = sha256("".join(f"{name}\0{size}\n" for name, size in sizes).encode())
    for name, _ in sizes:
        digest.update(_beginning(place / name, bounds_of(data_root)))
    if isinstance(data, Cifar10Data):
        images, held, classes, side = 50_000, 10_000, CIFAR10_CLASSES, 32
    else:
        of = dict(sizes)
        images = (of["train_X.bin"] + of["unlabeled_X.bin"]) // STL10_BYTES if of else 105_000
        held = of["test_X.bin"] // STL10_BYTES if of else 8_000
        classes, side = STL10_CLASSES, 96
    fingerprint = f"sha256:{digest.hexdigest()}" if sizes else ""
    return SourceFacts(data.source, images, held, classes, (side, side), 3, bool(sizes), fingerprint, notes)


def _absent(data: Cifar10Data | Stl10Data, data_root: Path, folder: str) -> Path:
    folder_below(data_root, data.path)
    raise DataError(
        "/data/path",
        f"there is no {folder} in {data.path!r} below the data root.",
        f"Unpack torchvision's layout there, set download to true, or use source 'folder' for images in class folders. "
        f"{_there_is(data_root)}",
    )


def _there_is(data_root: Path) -> str:
    """Which folders there are, for a hint."""
    names = sorted(entry.name for entry in os.scandir(data_root) if entry.is_dir() and not entry.name.startswith("."))
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"Folders there: {shown}." if names else "There are no folders there yet."


__all__ = [
    "HELD_OUT",
    "DataError",
    "SourceFacts",
    "default_size",
    "describe",
    "digits_held_out",
    "every_file",
    "folder_below",
    "index_folder",
    "resolve_data",
    "stored_size",
]
