"""What a source is, told from listings and headers: splits, classes, bounds, and errors that say what would be right."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_core.data.defaults import default_size, resolve_data, stored_size
from ssl_core.data.paths import Paths
from ssl_core.data.scan import held_out_by_hash, scan
from ssl_core.data.sources import STL10_BYTES, DataError, SourceFacts, describe, index_folder
from ssl_core.spec import Cifar10Data, DatasetData, DigitsData, FolderData, ImageNetData, Stl10Data


def facts(source: str = "folder", size: tuple[int, int] | None = None) -> SourceFacts:
    return SourceFacts(source, 10, 2, None, size, 3, True, "", ())


class TestFolder:
    def test_flat(self, write) -> None:
        root = write(*(f"p/{i}.png" for i in range(40)), size=(30, 20))
        found = describe(FolderData(path="p", held_out=0.25), root)
        assert found.images + found.held_out == 40 and 3 <= found.held_out <= 18
        assert found.classes is None and found.typical_size == (30, 20) and found.channels == 3 and found.readable

    def test_the_data_root_itself_can_be_the_folder(self, write) -> None:
        assert describe(FolderData(path="."), write("a.png", "b.png", "c.png")).images >= 1

    def test_nested_classes(self, write) -> None:
        root = write(*(f"p/{name}/{deep}{i}.png" for name in ("cat", "dog") for deep in ("", "x/y/") for i in range(10)))
        data = FolderData(path="p", held_out=0.3)
        index, _ = index_folder(data, root)
        assert index.classes == describe(data, root).classes == ("cat", "dog")
        for paths, labels in ((index.train, index.train_labels), (index.held_out, index.held_out_labels)):
            assert labels is not None
            assert [index.classes[label] for label in labels] == [path.split("/")[0] for path in paths]

    def test_no_classes_if_an_image_lies_beside_them(self, write) -> None:
        root = write("p/cat/1.png", "p/dog/1.png", "p/1.png")
        assert describe(FolderData(path="p"), root).classes is None
        with pytest.raises(DataError, match="class folders") as caught:
            describe(FolderData(path="p", labels="folders"), root)
        assert caught.value.pointer == "/data/labels"

    def test_one_folder_is_no_class(self, write) -> None:
        assert describe(FolderData(path="p"), write("p/all/1.png", "p/all/2.png")).classes is None

    def test_labels_none(self, write) -> None:
        assert describe(FolderData(path="p", labels="none"), write("p/a/1.png", "p/b/2.png")).classes is None

    @pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
    def test_train_and_held_out_folders(self, write, name: str) -> None:
        root = write(*(f"p/{part}/{c}/{i}.png" for part, n in (("train", 5), (name, 2)) for c in "ab" for i in range(n)))
        index, _ = index_folder(FolderData(path="p", held_out=0.9), root)
        assert list(index.train) == [f"train/{c}/{i}.png" for c in "ab" for i in range(5)]
        assert list(index.held_out) == [f"{name}/{c}/{i}.png" for c in "ab" for i in range(2)]
        assert index.classes == ("a", "b") and list(index.held_out_labels or ()) == [0, 0, 1, 1]

    def test_val_goes_before_test_and_the_rest_is_left_out_aloud(self, write) -> None:
        root = write("p/train/1.png", "p/val/2.png", "p/test/3.png", "p/4.png")
        found = describe(FolderData(path="p"), root)
        assert (found.images, found.held_out) == (1, 1)
        assert "2 images outside" in found.problems[0]

    def test_train_alone_is_an_ordinary_folder(self, write) -> None:
        found = describe(FolderData(path="p", held_out=0.5), write(*(f"p/train/{i}.png" for i in range(30))))
        assert found.held_out > 0 and found.images + found.held_out == 30

    def test_added_files_move_none(self, write) -> None:
        data = FolderData(path="p", held_out=0.3)
        before = set(index_folder(data, write(*(f"p/{i}.png" for i in range(0, 60, 2))))[0].held_out)
        index, _ = index_folder(data, write(*(f"p/{i}.png" for i in range(1, 60, 2))))
        assert before <= set(index.held_out) and not before & set(index.train)

    def test_share_of_the_hash(self) -> None:
        held = sum(held_out_by_hash(f"photos/{i}.jpg", 0.1) for i in range(20_000))
        assert abs(held - 2000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5

    def test_at_least_one_image_trains(self, write) -> None:
        name = next(f"{i}.png" for i in range(100) if held_out_by_hash(f"{i}.png", 0.5))
        found = describe(FolderData(path="p", held_out=0.5), write(f"p/{name}"))
        assert (found.images, found.held_out) == (1, 0) and "No image is held out" in found.problems[-1]

    def test_hidden_and_other_files_are_skipped(self, write) -> None:
        root = write("p/a.png", "p/.b.png", "p/.thumbs/c.png", "p/d.JPG", "p/e.tiff")
        (root / "p/notes.txt").write_text("no image")
        found = scan(root / "p", root)
        assert list(found.paths) == ["a.png", "d.JPG", "e.tiff"] and found.other_files == 1

    def test_unreadable_ones_are_counted(self, write) -> None:
        root = write("p/a.png", "p/b.png")
        (root / "p/c.png").write_bytes(b"nothing")
        found = describe(FolderData(path="p", held_out=0.01), root)
        assert found.readable and any("1 of 3" in problem for problem in found.problems)
        for name in "ab":
            (root / f"p/{name}.png").write_bytes(b"nothing")
        assert not describe(FolderData(path="p", held_out=0.01), root).readable

    def test_channels(self, write) -> None:
        root = write("g/a.png", "g/b.png", gray=True)
        assert describe(FolderData(path="g"), root).channels == 1


class TestBounds:
    def test_a_path_that_leads_out_through_a_link(self, write, tmp_path: Path) -> None:
        root = write("p/a.png")
        (tmp_path / "outside").mkdir()
        (root / "link").symlink_to(tmp_path / "outside")
        with pytest.raises(DataError, match="'link' leads out of the data root") as caught:
            describe(FolderData(path="link"), root)
        assert caught.value.pointer == "/data/path"

    def test_a_name_that_begins_alike_is_still_outside(self, write, tmp_path: Path) -> None:
        root = write("p/a.png")
        (tmp_path / "root-other").mkdir()
        (tmp_path / "root-other/b.png").write_bytes(b"")
        (root / "p/link").symlink_to(tmp_path / "root-other")
        assert scan(root / "p", root).links_out == 1

    def test_links_within_the_data_root_are_followed_and_loops_end(self, write, tmp_path: Path) -> None:
        root = write("p/a.png", "shared/b.png", "shared/c.png")
        (tmp_path / "secret.png").write_bytes(b"")
        (root / "p/more").symlink_to(root / "shared")
        (root / "p/loop").symlink_to(root / "p")
        (root / "p/file.png").symlink_to(root / "shared/b.png")
        (root / "p/out.png").symlink_to(tmp_path / "secret.png")
        (root / "p/gone.png").symlink_to(root / "nowhere.png")
        found = scan(root / "p", root)
        assert list(found.paths) == ["a.png", "file.png", "more/b.png", "more/c.png"] and found.links_out == 1
        problems = describe(FolderData(path="p", held_out=0.01), root).problems
        assert any("1 symbolic links lead out" in problem for problem in problems)

    def test_missing_folder_lists_what_is_there(self, write) -> None:
        root = write("cats/a.png", "dogs/a.png")
        with pytest.raises(DataError) as caught:
            describe(FolderData(path="birds"), root)
        assert "'birds'" in caught.value.message and "cats, dogs" in caught.value.hint

    def test_no_images_a_file_and_no_data_root(self, write) -> None:
        root = write("p/a.png")
        (root / "empty").mkdir()
        (root / "empty/a.txt").write_text("")
        with pytest.raises(DataError, match=r"holds no images \(1 files"):
            describe(FolderData(path="empty"), root)
        with pytest.raises(DataError, match="is a file"):
            describe(FolderData(path="p/a.png"), root)
        with pytest.raises(DataError, match="data root"):
            describe(FolderData(path="p"), root / "nowhere")


class TestFingerprint:
    def test_follows_content_and_not_time(self, write) -> None:
        root = write("p/a.png", "p/b.png", "q/a.png")
        of = lambda path="p": describe(FolderData(path=path), root).fingerprint  # noqa: E731
        first = of()
        os.utime(root / "p/a.png", (1, 1))
        assert of() == first and first.startswith("sha256:")
        assert of("q") != first
        data = bytearray((root / "p/a.png").read_bytes())
        data[-1] ^= 1  # same name, same size
        (root / "p/a.png").write_bytes(data)
        assert of() != first

    def test_index_and_description_agree(self, write) -> None:
        root, data = write("p/a.png", "p/b.png"), FolderData(path="p")
        assert index_folder(data, root)[1] == describe(data, root)


class TestOtherSources:
    def test_digits(self, tmp_path: Path) -> None:
        found = describe(DigitsData(), tmp_path)
        assert (found.images, found.held_out, found.typical_size, len(found.classes or ())) == (1437, 360, (8, 8), 10)

    def test_cifar10(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no cifar-10-batches-py") as caught:
            describe(Cifar10Data(), tmp_path)
        assert "download" in caught.value.hint
        found = describe(Cifar10Data(download=True), tmp_path)
        assert not found.readable and "downloaded" in found.problems[0]
        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        with pytest.raises(DataError, match="lacks data_batch_1"):
            describe(Cifar10Data(), tmp_path)
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
            (folder / name).write_bytes(b"x")
        found = describe(Cifar10Data(), tmp_path)
        assert (found.images, found.held_out, found.readable) == (50_000, 10_000, True)

    def test_stl10(self, tmp_path: Path) -> None:
        folder = tmp_path / "s" / "stl10_binary"
        folder.mkdir(parents=True)
        for name, images in (("train_X", 3), ("unlabeled_X", 5), ("test_X", 2)):
            np.zeros(images * STL10_BYTES, np.uint8).tofile(folder / f"{name}.bin")
        for name, images in (("train_y", 3), ("test_y", 2)):
            np.ones(images, np.uint8).tofile(folder / f"{name}.bin")
        found = describe(Stl10Data(path="s"), tmp_path)
        assert (found.images, found.held_out, found.typical_size) == (8, 2, (96, 96))

    def test_imagenet(self, write) -> None:
        root = write(*(f"imagenet/{part}/n{c}/{i}.png" for part in ("train", "val") for c in range(3) for i in range(2)))
        found = describe(ImageNetData(), root)
        assert (found.images, found.held_out, found.classes) == (6, 6, ("n0", "n1", "n2"))
        write("flat/train/n1/1.png", "flat/train/n2/2.png", "flat/val/3.png")
        with pytest.raises(DataError, match="not sorted into class folders"):
            describe(ImageNetData(path="flat"), root)
        write("half/train/n1/1.png")
        with pytest.raises(DataError, match="no folder 'val'"):
            describe(ImageNetData(path="half"), root)

    def test_a_registered_dataset_is_for_the_service(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="service"):
            describe(DatasetData(id="ds_" + "0" * 26), tmp_path)


class TestDefaults:
    @pytest.mark.parametrize("side,size", [(8, 32), (40, 32), (41, 64), (72, 64), (73, 96), (128, 96), (129, 128), (4000, 128)])
    def test_size_of_a_folder(self, side: int, size: int) -> None:
        assert default_size(facts(size=(side + 100, side)), has_gpu=False) == size
        assert default_size(facts(size=(side, side)), has_gpu=True) == (224 if size == 128 else size)

    def test_given_values_stay(self) -> None:
        data = resolve_data(Cifar10Data(size=48, mean=(0.5,), std=(0.1, 0.2, 0.3)), facts("cifar10"))
        assert (data.size, data.mean, data.std) == (48, (0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
        data = resolve_data(Stl10Data(), facts("stl10"))
        assert data.size == 96 and data.mean == (0.4467, 0.4398, 0.4066)

    def test_stored_size(self) -> None:
        assert [stored_size(ImageNetData(size=size)) for size in (224, 128, 96, 64)] == [256, 146, 110, 64]
        assert stored_size(Cifar10Data(size=96)) == 96
        with pytest.raises(ValueError, match="resolve_data"):
            stored_size(DigitsData())


def test_paths_are_a_sequence_and_travel() -> None:
    names = ["a.png", "ümlaut/ö.png", "", "z" * 300]
    paths = pickle.loads(pickle.dumps(Paths(names)))
    assert list(paths) == names and paths[-1] == names[-1] and list(paths[1:3]) == names[1:3]
    for out in (4, -5):
        with pytest.raises(IndexError):
            paths[out]


def test_importing_needs_no_torch() -> None:
    code = "import ssl_core.data.sources, sys; assert not {'torch', 'numpy', 'PIL', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
