"""Stores: the same pixels in memory, from files and as served; unreadable files left out; two sides for evaluation."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.augment import normalise
from ssl_core.data.defaults import STATISTICS
from ssl_core.data.errors import DataError
from ssl_core.data.images import load_square
from ssl_core.data.load import load_data
from ssl_core.data.machine import fits_in_memory, memory_bytes
from ssl_core.data.sources import describe, index_folder
from ssl_core.data.store import ArrayStore, FileStore, InMemoryStore, decode_all
from ssl_core.spec import Cifar10Data, DigitsData, FolderData, Stl10Data


def class_folders(n: int = 8) -> list[str]:
    return [f"p/{name}/{i}.png" for name in ("cat", "dog") for i in range(n)]


class TestPixels:
    @pytest.mark.parametrize("in_memory", ["always", "never"])
    def test_training_evaluation_and_serving_see_the_same(self, write, in_memory: str) -> None:
        root = write(*class_folders(), size=(150, 131))
        data = load_data(FolderData(path="p", size=96, in_memory=in_memory, held_out=0.3), root)
        assert isinstance(data.train, InMemoryStore if in_memory == "always" else FileStore)
        assert data.train.size == 110 and data.bank is not None and data.bank.size == 96
        index, _ = index_folder(FolderData(path="p", held_out=0.3), root)
        served = [load_square((root / "p" / path).read_bytes(), size=96, short_side=110) for path in index.train]
        expected = torch.from_numpy(np.stack(served)).permute(0, 3, 1, 2)
        assert torch.equal(data.bank.images, expected)
        stored = data.train.batch(torch.arange(len(data.train)))
        mean, std = STATISTICS["imagenet"]
        assert torch.equal(normalise(stored, 96, mean, std), normalise(expected, 96, mean, std))

    def test_in_memory_and_streamed_are_equal(self, write) -> None:
        root = write(*class_folders(), size=(50, 41))
        stores = [load_data(FolderData(path="p", in_memory=kind), root).train for kind in ("always", "never")]
        indices = torch.tensor([3, 0, 3, 9])
        assert torch.equal(stores[0].batch(indices), stores[1].batch(indices))
        assert stores[0].labels is not None and torch.equal(stores[0].labels, stores[1].labels)

    def test_a_file_store_travels_to_a_worker(self, write) -> None:
        store = load_data(FolderData(path="p", in_memory="never"), write(*class_folders())).train
        again = pickle.loads(pickle.dumps(store))
        assert torch.equal(again.batch(torch.tensor([1])), store.batch(torch.tensor([1])))

    def test_arrays_are_resized_as_files_are(self) -> None:
        array = np.random.default_rng(0).integers(0, 256, (3, 3, 20, 20), dtype=np.uint8)
        assert torch.equal(ArrayStore(array, 20).batch(torch.tensor([2])), torch.from_numpy(array[2:]))
        resized = ArrayStore(array, 32).batch(torch.tensor([1]))[0]
        assert np.array_equal(resized.permute(1, 2, 0).numpy(), load_square(array[1].transpose(1, 2, 0), 32, 32))
        columns_first = ArrayStore(array.transpose(0, 1, 3, 2), 20, transposed=True)
        assert torch.equal(columns_first.batch(torch.arange(3)), torch.from_numpy(array))


class TestUnreadable:
    def test_left_out_counted_and_listed(self, write) -> None:
        root = write(*(f"p/{name}/{i}.png" for name in ("a", "b") for i in range(100)), size=(10, 10))
        for name in ("a/3", "a/99", "b/0"):
            (root / f"p/{name}.png").write_bytes(b"broken")
        seen = []
        data = load_data(FolderData(path="p", held_out=0.001), root, progress=lambda done, total: seen.append((done, total)))
        total = seen[-1][1]
        assert seen[-1] == (total, total) and [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert data.unreadable_count == 3 and [path for path, _ in data.unreadable] == ["a/3.png", "a/99.png", "b/0.png"]
        assert "known format" in data.unreadable[0][1]
        assert len(data.train) == total - 3 and data.train.labels is not None
        everything = sorted(f"{c}/{i}.png" for c in "ab" for i in range(100))
        kept = [path for path in everything if path not in dict(data.unreadable)]
        assert len(kept) == len(data.train) == 197, "the hash should hold out none of these"
        for number in (0, 3, 98, 99, 196):
            expected = load_square(root / "p" / kept[number], 32, 32)
            assert np.array_equal(data.train.batch(torch.tensor([number]))[0].permute(1, 2, 0).numpy(), expected)
        assert data.train.labels.tolist() == [0] * 98 + [1] * 99

    def test_only_twenty_are_listed(self, write) -> None:
        root = write("p/good.png")
        for i in range(30):
            (root / f"p/bad{i}.png").write_bytes(b"")
        images, unreadable = decode_all(root / "p", [f"bad{i}.png" for i in range(30)] + ["good.png"], 16)
        assert len(images) == 1 and len(unreadable) == 30
        data = load_data(FolderData(path="p", held_out=0.001, max_unreadable=1), root)
        assert data.unreadable_count == 30 and len(data.unreadable) == 20

    def test_none_left_or_more_than_allowed(self, write) -> None:
        root = write("p/a.png", "p/b.png", "p/c.png")
        (root / "p/a.png").write_bytes(b"")
        source = FolderData(path="p", held_out=0.001, max_unreadable=0.34)
        assert load_data(source, root).unreadable_count == 1
        with pytest.raises(DataError, match=r"1 of 3 images in 'p' are unreadable, more than the 5 % of data\.max_unreadable"):
            load_data(source.changed(max_unreadable=0.05), root)
        for name in "bc":
            (root / f"p/{name}.png").write_bytes(b"")
        for kind in ("always", "never"):
            with pytest.raises(DataError, match="3 of 3"):
                load_data(source.changed(in_memory=kind), root)

    def test_streaming_takes_the_next_one_and_says_so(self, write) -> None:
        root = write(*(f"p/{i}.png" for i in range(4)))
        (root / "p/1.png").write_bytes(b"")
        (root / "p/2.png").unlink()
        store = FileStore(root / "p", [f"{i}.png" for i in range(4)], 16)
        images, really = store.substitute(torch.tensor([0, 1, 3]))
        assert really.tolist() == [0, 3, 3] and torch.equal(images[1], images[2])
        assert set(store.unreadable) == {1, 2} and "gone" in store.unreadable[2]


class TestEvaluation:
    def test_sides_are_limited_and_chosen_by_seed(self, write) -> None:
        root = write(*class_folders(40))
        source = FolderData(path="p", held_out=0.4)
        first, again, other = (load_data(source, root, max_eval_images=20, seed=seed) for seed in (0, 0, 1))
        for side in ("bank", "queries"):
            chosen = [getattr(data, side) for data in (first, again, other)]
            assert len(chosen[0]) == min(20, len(chosen[0])) and chosen[0].labels is not None
            assert torch.equal(chosen[0].images, chosen[1].images)
        assert not torch.equal(first.bank.images, other.bank.images)
        assert first.held_out == describe(source, root).held_out

    def test_labels_belong_to_their_images(self, write) -> None:
        root = write(*class_folders(20))
        data = load_data(FolderData(path="p", held_out=0.3), root, max_eval_images=10)
        assert data.classes == ("cat", "dog")
        by_pixels = {load_square(file, 32, 32).tobytes(): file.parent.name for file in sorted((root / "p").rglob("*.png"))}
        for side in (data.bank, data.queries):
            assert side is not None and side.labels is not None and len(side) == 10
            for image, label in zip(side.images, side.labels.tolist(), strict=True):
                assert by_pixels[image.permute(1, 2, 0).numpy().tobytes()] == data.classes[label]

    def test_without_labels_and_without_held_out(self, write) -> None:
        data = load_data(FolderData(path="p", held_out=0.0001), write("p/a.png", "p/b.png"))
        assert data.bank is not None and data.bank.labels is None and data.queries is None


class TestSources:
    def test_digits(self, tmp_path: Path) -> None:
        data = load_data(DigitsData(), tmp_path)
        assert len(data.train) == 1437 and data.queries is not None and len(data.queries) == 360
        assert data.queries.labels is not None and len(set(data.queries.labels.tolist())) == 10
        together = torch.cat([data.train.batch(torch.arange(1437)), data.queries.images])
        assert torch.unique(together.flatten(1), dim=0).shape[0] == 1797, "an image is in both parts"
        values = together.double() / 255
        mean, std = STATISTICS["digits"]
        assert abs(values.mean() - mean[0]) < 1e-4 and abs(values.std(correction=0) - std[0]) < 1e-4

    def test_digits_too_large_for_memory_are_scaled_when_asked_for(self, tmp_path: Path) -> None:
        kept, streamed = (load_data(DigitsData(size=20, in_memory=where), tmp_path) for where in ("always", "never"))
        assert isinstance(kept.train, InMemoryStore) and isinstance(streamed.train, ArrayStore)
        some = torch.tensor([0, 7, len(kept.train) - 1])
        assert len(kept.train) == len(streamed.train) and torch.equal(kept.train.batch(some), streamed.train.batch(some))
        assert torch.equal(kept.train.labels, streamed.train.labels) and torch.equal(kept.queries.images, streamed.queries.images)

    def test_cifar10_is_read_by_torchvision(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real reader on small files in CIFAR-10's format; only the checksums it knows are replaced by theirs."""
        from torchvision.datasets import CIFAR10

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        rng = np.random.default_rng(0)
        names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
        pixels = {name: rng.integers(0, 256, (4, 3072), dtype=np.uint8) for name in names}
        for name in names:
            (folder / name).write_bytes(pickle.dumps({"data": pixels[name], "labels": [0, 1, 2, 9]}))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(i) for i in range(10)]}))
        with pytest.raises(DataError, match="cannot be read"):  # wrong checksums are never unpickled
            load_data(Cifar10Data(), tmp_path)
        sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in [*names, "batches.meta"]}
        monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
        data = load_data(Cifar10Data(), tmp_path)
        assert len(data.train) == 20 and data.train.labels is not None and data.train.labels.tolist()[:4] == [0, 1, 2, 9]
        expected = torch.from_numpy(pixels["data_batch_2"][1].reshape(3, 32, 32))
        assert torch.equal(data.train.batch(torch.tensor([5]))[0], expected)
        assert data.queries is not None and len(data.queries) == 4

    @pytest.mark.parametrize("in_memory", ["always", "never"])
    @pytest.mark.parametrize("size", [96, 64])
    def test_stl10(self, tmp_path: Path, in_memory: str, size: int) -> None:
        from torchvision.datasets import STL10

        folder = tmp_path / "stl10_binary"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for name, images in (("train", 3), ("unlabeled", 4), ("test", 2)):
            rng.integers(0, 256, (images, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{name}_X.bin")
            if name != "unlabeled":
                np.arange(1, images + 1, dtype=np.uint8).tofile(folder / f"{name}_y.bin")
        data = load_data(Stl10Data(in_memory=in_memory, size=size), tmp_path)
        assert data.train.labels is not None and data.train.labels.tolist() == [0, 1, 2, -1, -1, -1, -1]
        reader = STL10.__new__(STL10)  # its reader of one file, without the checksums of the real files
        reader.root, reader.base_folder = str(tmp_path), "stl10_binary"
        for number, name, at in ((1, "train_X.bin", 1), (5, "unlabeled_X.bin", 2)):
            image = reader._STL10__loadfile(name)[0][at]
            expected = load_square(np.ascontiguousarray(image.transpose(1, 2, 0)), size, size)
            assert np.array_equal(data.train.batch(torch.tensor([0, number]))[1].permute(1, 2, 0).numpy(), expected)
        assert data.bank is not None and data.bank.labels is not None and data.bank.labels.tolist() == [0, 1, 2]
        assert data.queries is not None and data.queries.labels is not None and data.queries.labels.tolist() == [0, 1]

    def test_grayscale_files_become_three_channels(self, write) -> None:
        data = load_data(FolderData(path="g"), write("g/a.png", "g/b.png", "g/c.png", gray=True))
        images = data.train.batch(torch.arange(len(data.train)))
        assert torch.equal(images[:, 0], images[:, 2])


def test_memory_decides(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(2**20))
    assert memory_bytes(tmp_path) == 2**20
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_bytes(tmp_path) > 2**28
    assert fits_in_memory("auto", 1000, 32) and not fits_in_memory("auto", 10**9, 256)
    assert fits_in_memory("always", 10**9, 256) and not fits_in_memory("never", 1, 8)


def test_wrong_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        InMemoryStore(torch.zeros(2, 3, 4, 4))
    assert Image.fromarray(InMemoryStore(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)).images[0, 0].numpy()).size == (4, 4)
