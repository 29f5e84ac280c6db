"""Find the images of a folder, quickly and without leaving the data root. Knows no torch, and opens no image.

scan(root, data_root) -> Scan: the files in sorted order, their sizes, and what was passed over
split(scan, ...)      -> FolderIndex: which are trained on, which are held out, and their classes
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal, overload

from ssl_core.data.errors import DataError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"})
TRAIN = "train"
HELD_OUT = ("val", "valid", "validation", "test")  # the first of them that is there
NO_LABEL = -1


class Paths(Sequence[str]):
    """Relative paths, compact: the UTF-8 of all of them in one `bytes`, and 8 bytes of offset each.

    A million paths of 40 characters take 48 MB; a list of str would take 105 MB, and would be copied page by page into
    every forked worker as reference counts change.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._ends = array("Q", [0])
        joined = bytearray()
        for path in paths:
            joined += os.fsencode(path)
            self._ends.append(len(joined))
        self._joined = bytes(joined)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Paths: ...
    def __getitem__(self, at: int | slice) -> str | Paths:
        if isinstance(at, slice):
            return Paths(self[i] for i in range(*at.indices(len(self))))
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        return os.fsdecode(self._joined[self._ends[at] : self._ends[at + 1]])


@dataclass(frozen=True)
class Scan:
    """What lies below a folder: image files in the order of their names, and what was passed over."""

    root: Path
    paths: Paths  # relative to root, with "/"
    sizes: array[int]  # bytes, of each
    other_files: int  # with another extension
    links_out: int  # symbolic links that leave the data root, not followed


@dataclass(frozen=True)
class FolderIndex:
    """Files to train on and files held out. Labels are positions in `classes`, or None without classes."""

    root: Path
    train: Paths
    held_out: Paths
    train_labels: array[int] | None
    held_out_labels: array[int] | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]


def scan(root: Path, data_root: Path) -> Scan:
    """Walk `root`. Hidden names are skipped; links are followed only to places below `data_root`, each folder once."""
    bounds = os.path.realpath(data_root)
    found: list[tuple[str, int]] = []
    other = links_out = 0
    seen: set[tuple[int, int]] = set()
    stack = [""]
    while stack:
        folder = stack.pop()
        status = os.stat(root / folder)
        if (status.st_dev, status.st_ino) in seen:  # a link to a folder above or beside
            continue
        seen.add((status.st_dev, status.st_ino))
        below = []
        for entry in _entries(root / folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_symlink():
                target = os.path.realpath(entry.path)
                if target != bounds and not target.startswith(bounds.rstrip(os.sep) + os.sep):
                    links_out += 1
                    continue
            if entry.is_dir():
                below.append(name)
            elif os.path.splitext(entry.name)[1].lower() not in EXTENSIONS:
                other += 1
            elif entry.is_file():  # not a socket, a pipe or a dangling link
                found.append((name, entry.stat().st_size))
        stack.extend(reversed(below))
    found.sort()
    return Scan(root, Paths(name for name, _ in found), array("Q", (size for _, size in found)), other, links_out)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Visible entries in order: real ones before links, so that a folder is found under its own name."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except PermissionError as error:
        raise DataError("/data/path", f"the folder {folder.name!r} cannot be read: permission denied.") from error
    return sorted(visible, key=lambda entry: (entry.is_symlink(), entry.name))


def split(found: Scan, held_out: float, labels: Literal["auto", "folders", "none"]) -> FolderIndex:
    """Train and held-out files, and their classes.

    train/ beside val/, valid/, validation/ or test/ is a split as it is (with several, the first of these; the others are
    left alone). Without them a file is held out if the hash of its path falls below `held_out`: adding files moves none.
    Raises DataError if labels="folders" and there are no class folders.
    """
    notes = []
    tops = {_top(path) for path in found.paths}
    held_name = next((name for name in HELD_OUT if name in tops), None)
    if TRAIN in tops and held_name is not None:
        train = [path for path in found.paths if _top(path) == TRAIN]
        held = [path for path in found.paths if _top(path) == held_name]
        left_out = len(found.paths) - len(train) - len(held)
        if left_out:
            notes.append(f"{left_out:,} images outside of {TRAIN}/ and {held_name}/ are left out.")
        depth = 1
    else:
        train, held = [], []
        for path in found.paths:
            (held if held_out_by_hash(path, held_out) else train).append(path)
        if not train:
            train, held = held, []
        depth = 0
    classes = None if labels == "none" else _classes(train, held, depth)
    if labels == "folders" and classes is None:
        raise DataError(
            "/data/labels",
            "labels = 'folders', but not every image lies in one of at least two class folders.",
            "Put each image into a folder named after its class, or use 'auto' or 'none'.",
        )
    if classes is None:
        return FolderIndex(found.root, Paths(train), Paths(held), None, None, None, tuple(notes))
    number = {name: i for i, name in enumerate(classes)}
    numbers = [array("q", (number[path.split("/")[depth]] for path in part)) for part in (train, held)]
    return FolderIndex(found.root, Paths(train), Paths(held), numbers[0], numbers[1], classes, tuple(notes))


def held_out_by_hash(path: str, share: float) -> bool:
    """Whether a file is held out: a function of its relative path alone, true for `share` of all paths."""
    return int.from_bytes(blake2b(os.fsencode(path), digest_size=8).digest(), "big") < share * 2**64


def _classes(train: list[str], held: list[str], depth: int) -> tuple[str, ...] | None:
    """Folder names at `depth`, if every image lies in one and training has at least two."""
    names: set[str] = set()
    for part in (train, held):
        for path in part:
            pieces = path.split("/", depth + 1)
            if len(pieces) < depth + 2:
                return None
            names.add(pieces[depth])
    in_training = {path.split("/", depth + 1)[depth] for path in train}
    return tuple(sorted(names)) if len(in_training) >= 2 else None


def _top(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""


def iterate_sample(count: int, at_most: int) -> Iterator[int]:
    """Up to `at_most` positions out of `count`, evenly spread."""
    steps = min(count, at_most)
    return (i * count // steps for i in range(steps))
