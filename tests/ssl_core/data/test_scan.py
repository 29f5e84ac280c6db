"""The compact scan of a folder: equal to a plain one on nasty trees, small in memory, and fit to travel to worker processes."""

from __future__ import annotations

import os
import pickle
import random
import tracemalloc
from array import array
from hashlib import blake2b, sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from ssl_core.data.errors import DataError
from ssl_core.data.paths import Paths
from ssl_core.data.scan import EXTENSIONS, FolderIndex, scan, split
from ssl_core.data.sources import index_folder
from ssl_core.spec import FolderData

# Names whose order changes with what follows them ("a/x", "a.b/x", "a!/x"), that only bytes can spell, and that have a meaning.
FOLDERS = ["a", "a.b", "a-b", "a!", "a b", "A", "b", "ä", "日本", "😀", os.fsdecode(b"\xff\xfe"), os.fsdecode(b"\x80"), "train",
           "train-", "train0", "val", "test", ".hidden", "a\nb"]  # fmt: skip
STEMS = [*FOLDERS, "0", "a.", "train0", "ﬀ", "-", "x.jpg"]
ENDINGS = [".jpg", ".JPG", ".jpeg", ".Png", ".txt", "", ".jpg~", ".webp"]


class Plain(NamedTuple):
    """What a scan finds, as lists."""

    files: list[tuple[str, int, int]]  # path, size, mtime
    other_files: int
    links_out: int


def plain_scan(root: Path, data_root: Path) -> Plain:
    """The rules, one after the other, without a thought of memory."""
    bounds, files, seen = data_root.resolve(), list[tuple[str, int, int]](), set[Path]()
    other = out = 0

    def visit(folder: Path, prefix: str) -> None:
        nonlocal other, out
        if folder.resolve() in seen:
            return
        seen.add(folder.resolve())
        below = []
        for name in sorted(os.listdir(folder)):
            path = folder / name
            if name[0] == ".":
                continue
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(bounds):
                out += 1
            elif path.is_dir():
                below.append((path.is_symlink(), name))
            elif os.path.splitext(name)[1].lower() not in EXTENSIONS:
                other += 1
            elif path.is_file():
                files.append((prefix + name, path.stat().st_size, path.stat().st_mtime_ns))
        for _, name in sorted(below):
            visit(folder / name, f"{prefix}{name}/")

    visit(root, "")
    return Plain(sorted(files), other, out)


class PlainSplit(NamedTuple):
    train: list[str]
    held_out: list[str]
    train_labels: list[int] | None
    held_out_labels: list[int] | None
    classes: tuple[str, ...] | None


def plain_split(paths: list[str], share: float) -> PlainSplit:
    tops = {path.split("/")[0] for path in paths if "/" in path}
    held_name = next((name for name in ("val", "valid", "validation", "test") if name in tops), None)
    if "train" in tops and held_name:
        train, held = ([path for path in paths if path.startswith(f"{name}/")] for name in ("train", held_name))
        depth = 1
    else:
        low = {path for path in paths if int.from_bytes(blake2b(os.fsencode(path), digest_size=8).digest()) < share * 2**64}
        train, held, depth = [path for path in paths if path not in low], [path for path in paths if path in low], 0
        if not train:
            train, held = held, []
    folders = [[path.split("/")[depth] if path.count("/") > depth else None for path in part] for part in (train, held)]
    if None in folders[0] + folders[1] or len(set(folders[0])) < 2:
        return PlainSplit(train, held, None, None, None)
    classes = sorted({str(name) for part in folders for name in part})
    labels = [[classes.index(str(name)) for name in part] for part in folders]
    return PlainSplit(train, held, labels[0], labels[1], tuple(classes))


def plain_fingerprint(root: Path, files: list[tuple[str, int, int]]) -> str:
    listing = b"".join(os.fsencode(path) + b"\0" + str(size).encode() + b"\n" for path, size, _ in files)
    sampled = min(64, len(files))
    begins = b"".join((root / files[i * len(files) // sampled][0]).read_bytes()[:65536] for i in range(sampled))
    return f"sha256:{sha256(listing + begins).hexdigest()}"


def grow(root: Path, draw: random.Random) -> Path:
    """A random tree below root/p, with files beside folders and links of every kind; returns root/p."""
    folders = [root / "p"]
    folders[0].mkdir(parents=True)
    (root / "beside").mkdir()
    (root / "beside" / "far.png").write_bytes(b"12345")
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "secret.jpg").write_bytes(b"1")
    flat = draw.random() < 0.4  # then every image lies in a class folder
    wanted = ["train", "val", "train0", "train/a", "train/a.b", "val/a"] if draw.random() < 0.4 else []
    for name in wanted + [""] * draw.randrange(1, 12):
        folder = folders[0] / name if name else draw.choice(folders) / draw.choice(FOLDERS)
        if not folder.exists():
            folder.mkdir()
            folders.append(folder)
    deep = [folder for folder in folders[1:] if folder.name not in ("train", "val")] if flat else []
    for number in range(draw.randrange(1, 60)):
        file = draw.choice(deep or folders) / (draw.choice(STEMS) + draw.choice(ENDINGS))
        if not file.exists():
            file.write_bytes(draw.randbytes(draw.randrange(50)))
            os.utime(file, ns=(0, draw.randrange(2**60)))
        if number % 9 == 0:
            targets = [draw.choice(folders), root, root / "beside", root / "beside/far.png", root.parent / "outside",
                       root.parent / "outside/secret.jpg", root / "nowhere.jpg", file]  # fmt: skip
            link = draw.choice(folders) / f"{draw.choice(STEMS)}{number}{draw.choice(ENDINGS)}"
            link.symlink_to(draw.choice(targets))
    return folders[0]


@pytest.mark.parametrize("seed", range(60))
def test_equals_a_plain_implementation_on_nasty_trees(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    root = tmp_path / "root"
    folder = grow(root, draw)
    plain = plain_scan(folder, root)
    found = scan(folder, root)
    assert list(zip(found.paths, found.sizes, found.mtimes, strict=True)) == plain.files
    assert (found.other_files, found.links_out) == (plain.other_files, plain.links_out)
    share = draw.choice([0.05, 0.5, 0.95])
    if not plain.files:
        with pytest.raises(DataError, match="holds no images"):
            index_folder(FolderData(path="p", held_out=share), root)
        return
    index, facts = index_folder(FolderData(path="p", held_out=share), root)
    expected = plain_split([path for path, _, _ in plain.files], share)
    assert as_lists(index) == expected
    assert facts.fingerprint == plain_fingerprint(folder, plain.files)
    for part in (index.train, index.held_out):
        assert [found.paths[number] for number in part.numbers] == list(part)


def as_lists(index: FolderIndex) -> PlainSplit:
    labels = [None if numbers is None else list(numbers) for numbers in (index.train_labels, index.held_out_labels)]
    return PlainSplit(list(index.train), list(index.held_out), labels[0], labels[1], index.classes)


def many(root: Path, folders: int, each: int) -> Path:
    for number in range(folders):
        folder = root / f"class-{number:04}" if folders > 1 else root
        folder.mkdir(parents=True)
        for image in range(each):
            (folder / f"image-{image:07}.jpg").touch()
    return root


@pytest.mark.parametrize("folders,each,most", [(60, 100, 150), (1, 6000, 250)])
def test_memory_of_a_file(tmp_path: Path, folders: int, each: int, most: int) -> None:
    """Paths of 31 characters, or of 17 in one folder, take at most `most` bytes each at any moment, and 75 afterwards (39 of
    path and offset, 16 of size and time, 4 to select, 8 of label). A list of tuples takes 300 before it is sorted."""
    root = many(tmp_path / "p", folders, each)
    scan(root, tmp_path)  # what is made once is made now
    tracemalloc.start()
    try:
        index = split(scan(root, tmp_path), 0.1, "auto")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    count = len(index.train) + len(index.held_out)
    assert count == folders * each
    assert peak / count < most and kept / count < 75


def test_a_file_that_goes_while_the_folder_is_read_and_a_link_to_itself(tmp_path: Path, monkeypatch) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    listed = os.scandir

    class Slow:
        def __init__(self, place: str) -> None:
            with listed(place) as entries:
                self.entries = list(entries)
            (tmp_path / "b.jpg").unlink()

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Slow)
    assert list(scan(tmp_path, tmp_path).paths) == ["a.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_that_may_not_be_read(tmp_path: Path, mode: int) -> None:
    folder = many(tmp_path / "secret", 1, 1)
    folder.chmod(mode)
    try:
        with pytest.raises(DataError, match="'secret' cannot be read: permission denied"):
            scan(folder, tmp_path)
    finally:
        folder.chmod(0o700)


class TestPaths:
    def test_selections_share_and_travel(self) -> None:
        names = ["a.png", "ümlaut/ö.png", os.fsdecode(b"\xff.jpg"), "z" * 300]
        paths = Paths(names)
        for numbers, some in ((array("I", [3, 1]), [names[3], names[1]]), (range(1, 3), names[1:3]), (range(0), [])):
            selected = pickle.loads(pickle.dumps(paths.select(numbers)))
            assert list(selected) == some and len(selected) == len(some) and list(selected.numbers) == list(numbers)
            assert [selected[at] for at in range(-len(some), len(some))] == some * 2
            assert list(selected.encoded()) == [os.fsencode(name) for name in some]
            assert list(selected[1:]) == some[1:] and list(selected[::-1]) == some[::-1]
            for out in (len(some), -len(some) - 1):
                with pytest.raises(IndexError):
                    selected[out]

    def test_a_selection_of_a_million_takes_its_numbers_only(self) -> None:
        paths = Paths("x" * 40 for _ in range(10_000))
        tracemalloc.start()
        try:
            some = paths.select(array("I", range(0, 10_000, 2)))
            assert tracemalloc.get_traced_memory()[0] < 5 * len(some)
        finally:
            tracemalloc.stop()
