"""The labelled pictures of a folder, on two sides: to learn from, and held out to measure on. Knows no torch.

labelled_folder(data, file, data_root, seed) -> LabelledFolder     for linear_probe and finetune: labelled pictures only
with_labels(index, file, data_root, share)   -> FolderIndex        for pretraining: all pictures, some of them labelled
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from ssl_core.data.errors import DataError
from ssl_core.data.labels import held_out_per_class, numbered, read_labels
from ssl_core.data.scan import NO_LABEL, FolderIndex, Scan, split
from ssl_core.data.sources import every_file
from ssl_core.spec import FolderData, ImageNetData

Split = Literal["folders", "stratified"]
FEW_HELD_OUT = 200  # labelled pictures: below that, more than data.held_out are held out, up to a half
LEAST_LABELLED = 20


@dataclass(frozen=True)
class LabelledFolder:
    """`index` holds labelled pictures only; `split` says how its sides came about."""

    index: FolderIndex
    split: Split
    fingerprint: str  # of the pictures, and of the CSV file's labels if there is one
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        assert self.index.classes is not None
        return self.index.classes


def labelled_folder(
    data: FolderData | ImageNetData, file: str | None, data_root: Path, seed: int, files_root: Path | None = None
) -> LabelledFolder:
    """The pictures of class folders, or with a CSV `file` (below `files_root`, by default the data root) those that it labels.

    train/ beside val/, valid/, validation/ or test/ is a split as it is; else `data.held_out` of each class is held out,
    chosen by the seed. Raises DataError at /data or /label_file.
    """
    found, fingerprint = every_file(data, data_root)
    if file is None:
        if isinstance(data, FolderData) and data.labels == "none":
            raise DataError("/data/labels", "labels = 'none' leaves nothing to measure.", "Use 'auto', or name a label_file.")
        labels, classes = _of_folders(found, data.path)
    else:
        table = read_labels(file, files_root or data_root, "/label_file")
        labels, classes = numbered(found, table, file, "/label_file")
        fingerprint = _with_table(fingerprint, table)
    sides = split(found, 0.0, "none")
    train, held = (_labelled(side.numbers, labels) for side in (sides.train, sides.held_out))
    how: Split = "folders" if train and held else "stratified"
    notes = []
    if how == "stratified":
        known = sorted([*train, *held])
        share = data.held_out if isinstance(data, FolderData) else 0.1
        picks = held_out_per_class(found.paths.select(array("I", known)), [labels[at] for at in known], share, seed)
        train, held = (array("I", (at for n, at in enumerate(known) if (n in picks) == side)) for side in (False, True))
    elif left := sum(label != NO_LABEL for label in labels) - len(train) - len(held):
        notes.append(f"{left:,} labelled images lie outside of the two folders and are left out.")
    _enough(labels, train, held, "/data/path" if file is None else "/label_file")
    notes += _one_sided(labels, train, held, classes)
    return LabelledFolder(_index(found, labels, classes, train, held), how, fingerprint, tuple(notes))


def with_labels(index: FolderIndex, file: str, data_root: Path, share: float) -> FolderIndex:
    """The same pictures, with labels from a CSV file (NO_LABEL where it has none).

    Where both sides have labelled pictures and are folders, they stay as they are. Else the labelled pictures are divided
    anew, `share` of each class held out (a half of few: see FEW_HELD_OUT), and those held out are not trained on.
    Raises DataError at /evaluate/labels.
    """
    pointer = "/evaluate/labels"
    labels, classes = numbered(index.found, read_labels(file, data_root, pointer), file, pointer)
    train, held = _labelled(index.train.numbers, labels), _labelled(index.held_out.numbers, labels)
    known = sorted([*train, *held])
    if len(known) < LEAST_LABELLED:
        what = f"{file!r} labels {len(known)} pictures"
        raise DataError(pointer, f"{what}; figures taken from so few say nothing.", f"Label {LEAST_LABELLED} or more.")
    new_train, new_held = array("I", index.train.numbers), array("I", index.held_out.numbers)
    as_it_is = bool(train and held and len(split(index.found, 0.0, "none").held_out))
    if not as_it_is:
        share = min(0.5, max(share, FEW_HELD_OUT / len(known)))
        of = index.found.paths.select(array("I", known))
        picks = {known[n] for n in held_out_per_class(of, [labels[at] for at in known], share, seed=0)}
        both = set(known)
        new_train = array("I", sorted([*(set(new_train) - both), *(both - picks)]))
        new_held = array("I", sorted([*(set(new_held) - both), *picks]))
        train, held = array("I", sorted(both - picks)), array("I", sorted(picks))
    _enough(labels, train, held, pointer)
    return replace(_index(index.found, labels, classes, new_train, new_held), notes=index.notes)


def _with_table(fingerprint: str, table: dict[str, str]) -> str:
    """That of the pictures and their labels together."""
    digest = sha256(f"{fingerprint}\n".encode())
    for path in sorted(table):
        digest.update(f"{path}\0{table[path]}\n".encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _of_folders(found: Scan, path: str) -> tuple[array[int], tuple[str, ...]]:
    """Labels by class folders; pictures beside train/ and val/ have none."""
    index = split(found, 0.0, "auto")
    if index.classes is None:
        what = f"{path!r} is not sorted into at least two class folders, with every image in one of them."
        raise DataError("/data/path", what, "Sort it, or name a CSV file of path,label in label_file.")
    labels = array("q", [NO_LABEL]) * len(found.paths)
    for side, numbers in ((index.train, index.train_labels), (index.held_out, index.held_out_labels)):
        assert numbers is not None
        for at, label in zip(side.numbers, numbers, strict=True):
            labels[at] = label
    return labels, index.classes


def _labelled(numbers: Iterable[int], labels: array[int]) -> array[int]:
    return array("I", (at for at in numbers if labels[at] != NO_LABEL))


def _index(found: Scan, labels: array[int], classes: tuple[str, ...], train: array[int], held: array[int]) -> FolderIndex:
    sides = [array("q", (labels[at] for at in side)) for side in (train, held)]
    return FolderIndex(found.root, found.paths.select(train), found.paths.select(held), sides[0], sides[1], classes, (), found)


def _enough(labels: array[int], train: array[int], held: array[int], pointer: str) -> None:
    classes = {labels[at] for at in train}
    if len(classes) < 2 or not held:
        what = f"{len(train):,} labelled pictures of {len(classes)} classes to learn from and {len(held):,} held out are too few."
        raise DataError(pointer, what, "Two classes with two pictures each are the least.")


def _one_sided(labels: array[int], train: array[int], held: array[int], classes: tuple[str, ...]) -> list[str]:
    sides = [{labels[at] for at in side} for side in (train, held)]
    notes = []
    for missing, where in ((sides[1] - sides[0], "to learn from"), (sides[0] - sides[1], "held out")):
        if missing:
            names = ", ".join(classes[each] for each in sorted(missing)[:3]) + (", …" if len(missing) > 3 else "")
            notes.append(f"{len(missing):,} classes have no picture {where}: {names}.")
    return notes
