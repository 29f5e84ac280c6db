"""Find the images of a folder, quickly, in little memory and without leaving the data root. Opens no image, knows no torch.

scan(root, data_root) -> Scan: the files in sorted order, their sizes and times, and what was passed over
split(scan, ...)      -> FolderIndex: which are trained on, which are held out, and their classes
"""

from __future__ import annotations

import errno
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Literal

from ssl_core.data.errors import DataError
from ssl_core.data.moving import moved
from ssl_core.data.paths import Paths
from ssl_core.data.reading import LeadsOut, bounds_of, lies_below, open_folder_below

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif")
TRAIN = "train"
HELD_OUT = ("val", "valid", "validation", "test")  # the first of them that is there
NO_LABEL = -1


@dataclass(frozen=True)
class Scan:
    """What lies below a folder: image files in the order of their names, and what was passed over."""

    root: Path
    paths: Paths  # relative to root, with "/"
    sizes: array[int]  # bytes, of each
    mtimes: array[int]  # when each was last changed, in nanoseconds (st_mtime_ns), int64
    other_files: int  # with another extension
    links_out: int  # symbolic links that leave the data root, not followed
    bounds: str  # below which every file is opened, see reading.py


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
    found: Scan  # of which all this is a part


def scan(root: Path, data_root: Path) -> Scan:
    """Walk `root`. Hidden names are skipped; links are followed only to places below `data_root`, each folder once.

    Raises DataError for a folder that may not be read.
    """
    bounds = bounds_of(data_root)
    walked, others, links_out = _Columns(), 0, 0
    seen: set[int] = set()
    stack = [""]
    while stack:
        prefix = stack.pop()
        folder = os.path.join(root, prefix)
        try:
            with _permitted(folder), _opened(folder, bounds) as opened:
                status = os.fstat(opened)
                identity = status.st_dev << 64 | status.st_ino  # one number: a tuple takes three times as much
                if identity in seen:  # a link to a folder above or beside
                    continue
                seen.add(identity)
                listing = _Listing(folder, opened, bounds)
        except LeadsOut:  # it became a link since it was listed
            links_out += 1
            continue
        walked.add(prefix, listing)
        others += listing.other_files
        links_out += listing.links_out
        stack.extend(f"{prefix}{name}/" for name in reversed(listing.folders))
    return Scan(root, *walked.in_order(), others, links_out, bounds)


@contextmanager
def _permitted(folder: str) -> Iterator[None]:
    try:
        yield
    except LeadsOut:
        raise
    except PermissionError as error:
        raise DataError("/data/path", f"the folder {Path(folder).name!r} cannot be read: permission denied.") from error


@contextmanager
def _opened(folder: str, bounds: str) -> Iterator[int]:
    descriptor = open_folder_below(folder, bounds)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Listing:
    """What lies directly in one folder: its images, in no order, and the folders to go on with, in order."""

    def __init__(self, folder: str, opened: int, bounds: str) -> None:
        """`opened`: the folder's descriptor, through which all is asked; `folder`: its path."""
        self.names: list[str] = []
        self.sizes, self.mtimes = array("Q"), array("q")
        self.other_files = self.links_out = 0
        real: list[str] = []
        linked: list[str] = []
        with os.scandir(opened) as entries:
            for entry in entries:
                moved()
                if entry.name.startswith("."):
                    continue
                try:
                    if entry.is_symlink() and not lies_below(os.path.realpath(os.path.join(folder, entry.name)), bounds):
                        self.links_out += 1
                    elif entry.is_dir():
                        (linked if entry.is_symlink() else real).append(entry.name)
                    elif not entry.name.lower().endswith(EXTENSIONS):
                        self.other_files += 1
                    elif entry.is_file():  # not a socket, a pipe or a dangling link
                        self._add(entry.name, entry.stat())
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ELOOP):  # gone since it was listed; a link to itself
                        raise
        self.folders = sorted(real) + sorted(linked)  # real ones first, so that a folder is found under its own name

    def _add(self, name: str, status: os.stat_result) -> None:
        self.names.append(name)
        self.sizes.append(status.st_size)
        self.mtimes.append(status.st_mtime_ns)


class _Columns:
    """Files as columns, which take a tenth of the memory of as many tuples, and need not be sorted one by one.

    Those of a folder that no subfolder comes between follow each other in the order of all paths as well. Such a run is
    sorted by its names as it arrives; at the end the runs are sorted by their first paths.
    """

    def __init__(self) -> None:
        self.joined, self.lengths = BytesIO(), array("I")
        self.sizes, self.mtimes = array("Q"), array("q")
        self.starts, self.firsts = array("Q"), list[str]()  # of the runs

    def add(self, prefix: str, listing: _Listing) -> None:
        """The files of the folder whose paths begin with `prefix`."""
        names = listing.names
        order = sorted(range(len(names)), key=names.__getitem__)
        cuts = {0, *(bisect_left(order, f"{name}/", key=names.__getitem__) for name in listing.folders)} - {len(names)}
        for cut in sorted(cuts):
            self.starts.append(len(self.lengths) + cut)
            self.firsts.append(prefix + names[order[cut]])
        begins = os.fsencode(prefix)
        for at in order:
            self.lengths.append(self.joined.write(begins + os.fsencode(names[at])))
            self.sizes.append(listing.sizes[at])
            self.mtimes.append(listing.mtimes[at])

    def in_order(self) -> tuple[Paths, array[int], array[int]]:
        """Paths, sizes and mtimes, in the order of the paths."""
        joined, lengths, sizes, mtimes = BytesIO(), array("I"), array("Q"), array("q")
        ends = array("Q", accumulate(self.lengths, initial=0))
        walked = self.joined.getbuffer()
        self.starts.append(len(self.lengths))
        for run in sorted(range(len(self.firsts)), key=self.firsts.__getitem__):
            start, stop = self.starts[run : run + 2]
            joined.write(walked[ends[start] : ends[stop]])
            lengths += self.lengths[start:stop]
            sizes += self.sizes[start:stop]
            mtimes += self.mtimes[start:stop]
        return Paths.of_bytes(joined.getvalue(), array("Q", accumulate(lengths, initial=0))), sizes, mtimes


def split(found: Scan, held_out: float, labels: Literal["auto", "folders", "none"]) -> FolderIndex:
    """Train and held-out files, and their classes.

    train/ beside val/, valid/, validation/ or test/ is a split as it is (with several, the first of these; the others are
    left alone). Without them a file is held out if the hash of its path falls below `held_out`: adding files moves none.
    Raises DataError if labels="folders" and there are no class folders.
    """
    paths, notes = found.paths, []
    tops = {name: below for name in (TRAIN, *HELD_OUT) if (below := _below(paths, name))}
    held_name = next((name for name in HELD_OUT if name in tops), None)
    if TRAIN in tops and held_name is not None:
        train, held = paths.select(tops[TRAIN]), paths.select(tops[held_name])
        left_out = len(paths) - len(train) - len(held)
        if left_out:
            notes.append(f"{left_out:,} images outside of {TRAIN}/ and {held_name}/ are left out.")
        depth = 1
    else:
        train, held = _split_by_hash(paths, held_out)
        depth = 0
    sorted_out = None if labels == "none" else _classify(train, held, depth)
    if labels == "folders" and sorted_out is None:
        raise DataError(
            "/data/labels",
            "labels = 'folders', but not every image lies in one of at least two class folders.",
            "Put each image into a folder named after its class, or use 'auto' or 'none'.",
        )
    train_labels, held_labels, classes = sorted_out or (None, None, None)
    return FolderIndex(found.root, train, held, train_labels, held_labels, classes, tuple(notes), found)


def held_out_by_hash(path: str | bytes, share: float) -> bool:
    """Whether a file is held out: a function of its relative path alone, true for `share` of all paths."""
    return int.from_bytes(blake2b(os.fsencode(path), digest_size=8).digest(), "big") < share * 2**64


def _below(paths: Paths, folder: str) -> range:
    """The positions of the paths in `folder`; they follow each other."""
    return range(bisect_left(paths, f"{folder}/"), bisect_left(paths, f"{folder}0"))  # "0" comes right after "/"


def _split_by_hash(paths: Paths, share: float) -> tuple[Paths, Paths]:
    train, held = array("I"), array("I")
    for number, path in enumerate(paths.encoded()):
        (held if held_out_by_hash(path, share) else train).append(number)
    return (paths.select(train), paths.select(held)) if train else (paths.select(held), paths.select(train))


def _classify(train: Paths, held: Paths, depth: int) -> tuple[array[int], array[int], tuple[str, ...]] | None:
    """Labels of both sides and the classes: folder names at `depth`, if every image lies in one and training has at least two."""
    found: dict[str, int] = {}  # in order of appearance
    sides = []
    for side in (train, held):
        numbers = array("q")
        for path in side:
            pieces = path.split("/", depth + 1)
            if len(pieces) < depth + 2:
                return None
            numbers.append(found.setdefault(pieces[depth], len(found)))
        sides.append(numbers)
        if len(found) < 2:  # asked of the training side first
            return None
    classes = tuple(sorted(found))
    place = {name: at for at, name in enumerate(classes)}
    renumbered = [place[name] for name in found]
    train_labels, held_labels = (array("q", map(renumbered.__getitem__, numbers)) for numbers in sides)
    return train_labels, held_labels, classes


def iterate_sample(count: int, at_most: int) -> Iterator[int]:
    """Up to `at_most` positions out of `count`, evenly spread."""
    steps = min(count, at_most)
    return (i * count // steps for i in range(steps))
