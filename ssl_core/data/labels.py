"""Classes of a folder's pictures from a CSV file, and which labelled pictures are held out. Knows no torch.

read_labels(file, data_root, pointer)     -> {path: class}
numbered(found, table, pointer)           -> the class of every picture, as a number, and the classes
held_out_per_class(paths, labels, …)      -> the positions held out: a share of each class

Everything that is wrong with such a file is a DataError that names the line or the path.
"""

from __future__ import annotations

import csv
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from io import TextIOWrapper
from pathlib import Path

from ssl_core.data.errors import DataError
from ssl_core.data.reading import bounds_of, open_below
from ssl_core.data.scan import NO_LABEL, Scan

HEADER = ["path", "label"]
MAX_BYTES = 2**28
NAMED = 3  # unknown paths that are named; all of them are counted
SEVERAL = (";", "|")  # what joins the labels of a picture that has several
NUMBERS = 20  # so many different whole numbers may be classes, however few pictures there are


def read_labels(file: str, data_root: Path, pointer: str) -> dict[str, str]:
    """The labels in a CSV file below the data root, with the header path,label. Raises DataError at `pointer`.

    One class for each picture: several labels of a picture, and numbers that measure something, are refused.
    """
    rows = _rows(_file_below(data_root, file, pointer), bounds_of(data_root), file, pointer)
    table: dict[str, str] = {}
    for line, (path, label) in rows:
        if table.setdefault(path, label) != label:
            raise _several(pointer, f"{file!r}, line {line}: {path!r} has the labels {table[path]!r} and {label!r}.")
    _check_classes(table, file, pointer)
    return table


def numbered(found: Scan, table: dict[str, str], file: str, pointer: str) -> tuple[array[int], tuple[str, ...]]:
    """The class of each picture of `found`, as its position among the classes in order (NO_LABEL: none), and the classes.

    Raises DataError at `pointer` for paths that are no pictures of the folder.
    """
    classes = tuple(sorted(set(table.values())))
    place = {name: at for at, name in enumerate(classes)}
    labels = array("q", [NO_LABEL]) * len(found.paths)
    unknown = []
    for path, label in table.items():
        at = bisect_left(found.paths, path)
        if at < len(labels) and found.paths[at] == path:
            labels[at] = place[label]
        else:
            unknown.append(path)
    if unknown:
        shown = ", ".join(repr(each[:200]) for each in unknown[:NAMED]) + (", …" if len(unknown) > NAMED else "")
        raise DataError(
            pointer,
            f"{len(unknown):,} of {len(table):,} paths in {file!r} are no pictures of the folder: {shown}.",
            f"Paths are relative to data.path, with '/', such as {found.paths[0]!r}.",
        )
    return labels, classes


def held_out_per_class(paths: Sequence[str], labels: Sequence[int], share: float, seed: int) -> set[int]:
    """Of each class the `share` of its pictures whose paths have the smallest hashes: at least one, and never all.

    labels (len(paths)): NO_LABEL is passed over. With seed 0 the hash is that by which pretraining holds pictures out
    (`scan.held_out_by_hash`), so that of the same folder they are, as far as can be, those that the encoder has not seen.
    """
    members: dict[int, list[tuple[bytes, int]]] = {}
    salt = seed.to_bytes(16, "little")  # zeros are blake2b's own default
    for at, label in enumerate(labels):
        if label != NO_LABEL:
            digest = blake2b(os.fsencode(paths[at]), digest_size=8, salt=salt).digest()
            members.setdefault(label, []).append((digest, at))
    held: set[int] = set()
    for each in members.values():
        count = min(len(each) - 1, max(1, round(share * len(each))))
        held.update(at for _, at in sorted(each)[:count])
    return held


def _file_below(data_root: Path, file: str, pointer: str) -> Path:
    place, bounds = data_root / file, Path(os.path.realpath(data_root))
    if not Path(os.path.realpath(place)).is_relative_to(bounds):
        raise DataError(pointer, f"{file!r} leads out of the data root.", "Use a file that lies below the data root.")
    if not os.path.isfile(place):
        raise DataError(pointer, f"there is no file {file!r} below the data root.", "Write one with the header path,label.")
    if place.stat().st_size > MAX_BYTES:
        raise DataError(pointer, f"{file!r} is larger than {MAX_BYTES >> 20} MiB.", "A line for each picture is enough.")
    return place


def _rows(place: Path, bounds: str, file: str, pointer: str) -> list[tuple[int, tuple[str, str]]]:
    """(line, (path, label)) of each row."""
    rows: list[tuple[int, tuple[str, str]]] = []
    try:
        with TextIOWrapper(open_below(place, bounds), encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip().lower() for name in next(reader, [])]
            if header[:2] == HEADER and len(header) > 2:
                raise _several(pointer, f"{file!r} has the columns {', '.join(header)}.")
            if header != HEADER:
                raise DataError(pointer, f"{file!r} begins with {','.join(header)!r:.200}.", "Its first line must be path,label.")
            for row in reader:
                if not row:
                    continue
                if len(row) != 2 or not row[0].strip() or not row[1].strip():
                    what = f"{file!r}, line {reader.line_num}: {','.join(row)!r:.200} is not path,label."
                    raise DataError(pointer, what, "Quote values that hold commas, and leave pictures without a label out.")
                rows.append((reader.line_num, (row[0].strip(), row[1].strip())))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(pointer, f"{file!r} is not a CSV file in UTF-8: {error}.") from error
    except OSError as error:
        raise DataError(pointer, f"{file!r} cannot be read: {error.strerror}.") from error
    if not rows:
        raise DataError(pointer, f"{file!r} holds no labels.", "Add a line path,label for each labelled picture.")
    return rows


def _check_classes(table: dict[str, str], file: str, pointer: str) -> None:
    values = set(table.values())
    joined = next((value for value in sorted(values) if any(mark in value for mark in SEVERAL)), None)
    if joined is not None:
        raise _several(pointer, f"{file!r} has the label {joined!r}.")
    if len(values) < 2:
        raise DataError(pointer, f"all labels in {file!r} are {next(iter(values))!r}.", "Two classes at least are needed.")
    numbers = _numbers(values)
    if numbers and (any(each != round(each) for each in numbers) or len(values) > max(NUMBERS, len(table) // 2)):
        raise DataError(
            pointer,
            f"the labels in {file!r} are numbers that measure something ({', '.join(sorted(values)[:NAMED])}, …).",
            "Classes are needed: regression is not measured here. Give each range a name.",
        )


def _numbers(values: Iterable[str]) -> list[float]:
    """All of them as numbers, or none."""
    try:
        found = [float(value) for value in values]
    except ValueError:
        return []
    return found if all(abs(each) < 1e300 for each in found) else []


def _several(pointer: str, message: str) -> DataError:
    return DataError(pointer, message, "One class for each picture: several labels are not measured here.")
