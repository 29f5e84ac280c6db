"""CSV files of labels: what is read, what is refused, and how labelled pictures are divided."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ssl_core.data.errors import DataError
from ssl_core.data.labelled import labelled_folder, with_labels
from ssl_core.data.labels import held_out_per_class, read_labels
from ssl_core.data.scan import NO_LABEL, held_out_by_hash
from ssl_core.data.sources import index_folder
from ssl_core.spec import FolderData

PHOTOS = FolderData(path="photos")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with photos/000.jpg to photos/199.jpg; nobody opens them."""
    (tmp_path / "photos").mkdir()
    for number in range(200):
        (tmp_path / "photos" / f"{number:03}.jpg").write_bytes(b"")
    return tmp_path


def write(root: Path, *lines: str, header: str = "path,label", name: str = "labels.csv") -> str:
    (root / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return name


def some(count: int, classes: int = 2) -> list[str]:
    return [f"{number:03}.jpg,class {number % classes}" for number in range(count)]


WRONG = [
    ("no header", ["000.jpg,cat"], "000.jpg,cat", "begins with '000.jpg,cat'"),
    ("more columns", ["000.jpg,1,0"], "path,label,dog", "several labels"),
    (
        "two labels",
        ["000.jpg,cat", "001.jpg,dog", "000.jpg,dog"],
        "path,label",
        "line 4: '000.jpg' has the labels 'cat' and 'dog'",
    ),
    ("joined labels", ["000.jpg,cat", "001.jpg,cat;dog"], "path,label", "has the label 'cat;dog'"),
    ("one class", ["000.jpg,cat", "001.jpg,cat"], "path,label", "all labels in 'labels.csv' are 'cat'"),
    ("a measure", ["000.jpg,1.5", "001.jpg,2"], "path,label", "regression is not measured here"),
    ("many numbers", [f"{n:03}.jpg,{n}" for n in range(60)], "path,label", "numbers that measure something"),
    ("no rows", [], "path,label", "holds no labels"),
    ("no label", ["000.jpg,cat", "001.jpg, "], "path,label", "line 3: '001.jpg, ' is not path,label"),
    ("three values", ["000.jpg,cat", "001.jpg,a,b"], "path,label", "is not path,label"),
    ("open quote", ['000.jpg,"cat'], "path,label", "is not a CSV file"),
]


class TestRead:
    def test_quotes_blanks_and_bom(self, root: Path) -> None:
        (root / "l.csv").write_bytes('\ufeffPath, Label\r\n"a,b.jpg","big, grey"\r\n\r\nc.jpg, dog\r\nc.jpg,dog\r\n'.encode())
        assert read_labels("l.csv", root, "/x") == {"a,b.jpg": "big, grey", "c.jpg": "dog"}

    def test_whole_numbers_may_be_classes(self, root: Path) -> None:
        write(root, *(f"{number:03}.jpg,{number % 10}" for number in range(60)))
        assert set(read_labels("labels.csv", root, "/x").values()) == {str(digit) for digit in range(10)}

    @pytest.mark.parametrize(("lines", "header", "said"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
    def test_refused(self, root: Path, lines: list[str], header: str, said: str) -> None:
        write(root, *lines, header=header)
        with pytest.raises(DataError) as error:
            read_labels("labels.csv", root, "/label_file")
        assert error.value.pointer == "/label_file" and said in str(error.value)

    def test_not_there_or_elsewhere(self, root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        write(elsewhere, *some(4))
        (root / "link.csv").symlink_to(elsewhere / "labels.csv")
        for name, said in (("link.csv", "leads out"), ("nowhere.csv", "no file 'nowhere.csv'"), ("photos", "no file")):
            with pytest.raises(DataError, match=said):
                read_labels(name, root, "/x")


class TestDivided:
    def test_unknown_paths_are_named(self, root: Path) -> None:
        write(root, *some(10), "photos/011.jpg,class 0", "nope.jpg,class 1")
        with pytest.raises(DataError, match=r"2 of 12 paths in 'labels.csv' are no pictures.*'photos/011.jpg', 'nope.jpg'"):
            labelled_folder(PHOTOS, "labels.csv", root, 0)

    @pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
    def test_a_share_of_each_class_is_held_out(self, root: Path, share: float) -> None:
        write(root, *some(150, classes=3))
        made = labelled_folder(PHOTOS.changed(held_out=share), "labels.csv", root, 0)
        sides = [Counter(side or ()) for side in (made.index.held_out_labels, made.index.train_labels)]
        assert sides[0] == {label: round(50 * share) for label in range(3)} and sum(sides[1].values()) == 150 - 3 * round(
            50 * share
        )
        assert not set(made.index.train) & set(made.index.held_out)
        assert (made.split, made.classes) == ("stratified", ("class 0", "class 1", "class 2"))

    def test_seeds_differ_and_seed_0_is_pretraining_s(self) -> None:
        """Of one class of 1,000, the tenth by seed 0 has the smallest hashes: all below pretraining's bound, or all that are."""
        paths, labels = [f"{number}.jpg" for number in range(1000)], [0] * 1000
        held = [held_out_per_class(paths, labels, 0.1, seed) for seed in (0, 0, 1)]
        assert held[0] == held[1] != held[2] and len(held[0]) == len(held[2]) == 100
        by_hash = {at for at, path in enumerate(paths) if held_out_by_hash(path, 0.1)}
        assert held[0] <= by_hash or by_hash <= held[0]

    def test_folders_are_a_split(self, tmp_path: Path) -> None:
        for place in ("train/cat/1", "train/cat/2", "train/dog/3", "test/cat/4", "test/dog/5", "test/emu/6"):
            path = tmp_path / "pets" / f"{place}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        made = labelled_folder(FolderData(path="pets"), None, tmp_path, 0)
        assert made.split == "folders" and list(made.index.held_out) == ["test/cat/4.jpg", "test/dog/5.jpg", "test/emu/6.jpg"]
        assert any("1 classes have no picture to learn from: emu" in note for note in made.notes)

    def test_what_has_no_classes_is_refused(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"not sorted into at least two class folders.*label_file"):
            labelled_folder(PHOTOS, None, root, 0)
        write(root, "000.jpg,a", "001.jpg,b")
        with pytest.raises(DataError, match="0 held out are too few"):
            labelled_folder(PHOTOS, "labels.csv", root, 0)

    def test_the_fingerprint_is_of_the_labels_too(self, root: Path) -> None:
        write(root, *some(40), name="a.csv")
        write(root, *reversed(some(40)), name="b.csv")
        write(root, *some(39), "039.jpg,class 0", name="c.csv")
        a, b, c = (labelled_folder(PHOTOS, f"{name}.csv", root, 0).fingerprint for name in "abc")
        assert a == b != c

    def test_a_file_of_labels_respects_folders(self, tmp_path: Path) -> None:
        lines = []
        for number in range(12):
            path = tmp_path / "pets" / ("train" if number < 8 else "val") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            lines.append(f"{path.parent.name}/{path.name},{'ab'[number % 2]}")
        write(tmp_path, *lines)
        made = labelled_folder(FolderData(path="pets"), "labels.csv", tmp_path, 0)
        assert made.split == "folders" and sorted(made.index.held_out) == [f"val/{n}.jpg" for n in (10, 11, 8, 9)]
        write(tmp_path, *lines[:8])
        made = labelled_folder(FolderData(path="pets"), "labels.csv", tmp_path, 0)
        assert made.split == "stratified" and len(made.index.held_out) == 2, "of labels on one side only, a share is held out"


class TestPretraining:
    def test_folders_with_labels_on_both_sides_stay_as_they_are(self, tmp_path: Path) -> None:
        lines = []
        for number in range(40):
            path = tmp_path / "pets" / ("train" if number < 25 else "test") / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            lines.append(f"{path.parent.name}/{path.name},{'ab'[number % 2]}")
        write(tmp_path, *lines[5:35])
        before = index_folder(FolderData(path="pets"), tmp_path)[0]
        after = with_labels(before, "labels.csv", tmp_path, 0.1)
        assert (list(after.train), list(after.held_out)) == (list(before.train), list(before.held_out))
        assert [sum(label != NO_LABEL for label in side or ()) for side in (after.train_labels, after.held_out_labels)] == [
            20,
            10,
        ]

    def test_labelled_pictures_are_divided_by_class_and_others_by_their_hash(self, root: Path) -> None:
        write(root, *some(60, classes=3))
        before = index_folder(PHOTOS, root)[0]
        after = with_labels(before, "labels.csv", root, 0.1)
        assert sorted([*after.train, *after.held_out]) == sorted([*before.train, *before.held_out])
        labels = dict(
            zip([*after.train, *after.held_out], [*(after.train_labels or ()), *(after.held_out_labels or ())], strict=True)
        )
        assert sum(label != NO_LABEL for label in labels.values()) == 60
        assert Counter(after.held_out_labels or ()) - Counter({NO_LABEL: 200}) == {0: 10, 1: 10, 2: 10}, "of few, half"
        others = {path for path in labels if labels[path] == NO_LABEL}
        assert set(after.held_out) & others == set(before.held_out) & others

    def test_few_are_refused(self, root: Path) -> None:
        write(root, *some(19))
        with pytest.raises(DataError, match="labels 19 pictures; figures taken from so few") as error:
            with_labels(index_folder(PHOTOS, root)[0], "labels.csv", root, 0.1)
        assert error.value.pointer == "/evaluate/labels"
