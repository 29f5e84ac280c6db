"""Contact sheets: what they show is what training feeds the network, and nothing that a folder holds breaks them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image

from ssl_core.augment import make_views
from ssl_core.data.errors import DataError
from ssl_core.data.images import load_square
from ssl_core.data.load import load_data
from ssl_core.data.sources import describe
from ssl_core.presets import complete
from ssl_core.preview import contact_sheet, sheet_of
from ssl_core.preview.sheet import views_of
from ssl_core.spec import TrainSpec
from support.sheets import holds, pixels


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with `photos`: parts of scikit-learn's two photographs, as JPEGs in two class folders."""
    root = tmp_path_factory.mktemp("root")
    for name in ("china", "flower"):
        folder = root / "photos" / name
        folder.mkdir(parents=True)
        whole = Image.fromarray(load_sample_image(f"{name}.jpg"))
        for at in range(5):
            whole.crop((at * 50, at * 20, at * 50 + 300, at * 20 + 200)).save(folder / f"{at}.jpg", quality=95)
    return root


def spec_of(data: dict[str, Any], root: Path = Path("."), **sections: Any) -> TrainSpec:
    rest = {"data": data, **sections}
    return complete(rest, facts=describe(complete(rest).spec.data, root)).spec


class TestViews:
    def test_every_view_of_the_sheet_is_what_training_draws(self, photos: Path) -> None:
        """The numbers are worked out here from make_views and the loaded store; 96 px are shown as they are."""
        spec = spec_of({"source": "folder", "path": "photos", "size": 96}, photos, trainer={"seed": 3})
        data = load_data(spec.data, photos)
        sheet = pixels(contact_sheet(spec, photos, images=3))
        count = len(data.train)
        for number in (0, count // 3, 2 * count // 3):
            index = torch.tensor([number])
            square = data.train.batch(index)
            assert holds(sheet, square[0].permute(1, 2, 0).numpy())
            for epoch in range(3):
                views = make_views(square, spec.augment, 96, spec.data.mean, spec.data.std, 3, epoch, index)
                for view in views:
                    shown = (view[0].permute(1, 2, 0) * torch.tensor(spec.data.std) + torch.tensor(spec.data.mean)) * 255
                    assert holds(sheet, shown.round().clamp(0, 255).to(torch.uint8).numpy()), (number, epoch)

    def test_a_view_in_a_batch_is_the_same_to_rounding(self) -> None:
        """Training draws whole batches, the sheet one image at a time."""
        spec = spec_of({"source": "digits"}, augment={"blur": 0.9, "hue": 0.3})
        store = load_data(spec.data, Path(".")).train
        index = torch.arange(0, 1400, 14)
        batch = make_views(store.batch(index), spec.augment, 32, spec.data.mean, spec.data.std, 0, 1, index)
        for at in (0, 42, 99):
            alone = views_of(store.batch(index[at : at + 1]), spec, 1, int(index[at]))
            for view, seen in zip(batch, alone, strict=True):
                undone = (view[at].permute(1, 2, 0) * torch.tensor(spec.data.std) + torch.tensor(spec.data.mean)) * 255
                assert np.abs(undone.numpy() - seen).max() <= 0.51

    def test_before_a_job_and_of_its_loaded_images_are_the_same_sheet(self, photos: Path) -> None:
        spec = spec_of({"source": "digits"})
        assert contact_sheet(spec, photos, images=4) == sheet_of(load_data(spec.data, photos).train, spec, images=4)
        spec = spec_of({"source": "folder", "path": "photos", "in_memory": "never"}, photos)
        assert contact_sheet(spec, photos, images=4) == sheet_of(load_data(spec.data, photos).train, spec, images=4)

    def test_the_seed_and_the_settings_decide(self) -> None:
        sheets = [
            contact_sheet(spec_of({"source": "digits"}, **sections), Path("."), images=2)
            for sections in ({}, {"trainer": {"seed": 1}}, {"augment": {"blur": 1.0}}, {})
        ]
        assert len(set(sheets)) == 3 and sheets[0] == sheets[3]

    def test_a_run_of_one_epoch_has_one_epoch_to_show(self) -> None:
        def wide(epochs: int) -> int:
            return pixels(
                contact_sheet(spec_of({"source": "digits"}, trainer={"max_epochs": epochs}), Path("."), images=2)
            ).shape[1]

        assert wide(1) < wide(2) < wide(3) == wide(50)

    def test_more_views_an_epoch_are_more_columns_of_fewer_epochs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with multi-crop: two views of 32 px and three of 16 px."""

        def several(images: torch.Tensor, augment: Any, size: int, *rest: Any) -> tuple[torch.Tensor, ...]:
            return (*make_views(images, augment, size, *rest), *make_views(images, augment, 16, *rest)[:1] * 3)

        spec = spec_of({"source": "digits"})
        store = load_data(spec.data, Path(".")).train
        usual = pixels(sheet_of(store, spec, images=2))
        monkeypatch.setattr("ssl_core.preview.sheet.make_views", several)
        sheet = pixels(sheet_of(store, spec, images=2))
        first, second, *local = views_of(store.batch(torch.tensor([0])), spec, 0, 0)
        assert len(local) == 3
        assert all(holds(sheet, view.repeat(4, 0).repeat(4, 1)) for view in (first, second, *local))
        later = views_of(store.batch(torch.tensor([0])), spec, 1, 0)[0].repeat(4, 0).repeat(4, 1)
        assert holds(usual, later) and not holds(sheet, later)

    def test_what_training_has_to_be_told_is_found_out(self, photos: Path) -> None:
        """A spec without size and statistics, as `python -m ssl_core` accepts it."""
        bare = TrainSpec.model_validate({"data": {"source": "folder", "path": "photos"}, "trainer": {"max_epochs": 1}})
        full = spec_of(
            {"source": "folder", "path": "photos"}, photos, augment=bare.augment.model_dump(), trainer={"max_epochs": 1}
        )
        assert contact_sheet(bare, photos, images=2) == contact_sheet(full, photos, images=2)


class TestFiles:
    def test_only_the_files_shown_are_read(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from ssl_core.data import store

        read: list[Path] = []

        def load_file(path: Path, side: int, bounds: str | None) -> NDArray[np.uint8]:
            read.append(path)
            return original(path, side, bounds)

        original = store.load_file
        monkeypatch.setattr(store, "load_file", load_file)
        contact_sheet(spec_of({"source": "folder", "path": "photos"}, photos), photos, images=2)
        assert len(read) == 2

    def test_of_a_packed_source_only_the_pictures_shown_are_scaled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All digits at 1024 px are 5 GiB, of which a sheet shows two."""
        scaled: list[int] = []

        def counted(image: Any, size: int, short_side: int) -> NDArray[np.uint8]:
            scaled.append(size)
            return load_square(image, size, short_side)

        monkeypatch.setattr("ssl_core.data.store.load_square", counted)
        contact_sheet(spec_of({"source": "digits", "size": 64}), Path("."), images=2)
        assert scaled == [64, 64]

    def test_unreadable_and_hostile_files_are_passed_over_and_named(self, photos: Path, tmp_path: Path) -> None:
        good = (photos / "photos" / "china" / "0.jpg").read_bytes()
        hostile = {
            "a-cut.jpg": good[: len(good) // 2],
            "b-noise.png": bytes(range(256)) * 40,
            "c-empty.gif": b"",
            "d-bomb.png": _png_that_claims(60_000, 60_000),
            "e-\u202egnp.\n\x1b[31m.jpg": good,
            "f-" + "x" * 200 + ".jpg": good,
        }
        for name, content in hostile.items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "g-gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
        for at in range(6):
            (tmp_path / f"h-{at}.jpg").write_bytes(good)
        spec = spec_of({"source": "folder", "path": ".", "held_out": 0.0001}, tmp_path)
        without = pixels(contact_sheet(spec, tmp_path, images=32))
        for name in list(hostile)[:4]:
            (tmp_path / name).unlink()
        cleaned = pixels(contact_sheet(spec, tmp_path, images=32))
        assert without.shape[1] == cleaned.shape[1]
        assert without.shape[0] > cleaned.shape[0], "a line names what was passed over"
        assert without.shape[0] - cleaned.shape[0] < 100, "and there is no row for it"

    def test_nothing_readable_is_an_error_with_a_pointer(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_bytes(b"no picture")
        spec = TrainSpec.model_validate({"data": {"source": "folder", "path": "."}})
        with pytest.raises(DataError, match="unreadable") as caught:
            contact_sheet(spec, tmp_path)
        assert caught.value.pointer == "/data/path"

    @pytest.mark.parametrize("source", ["cifar10", "stl10"])
    def test_nothing_is_downloaded(self, source: str, tmp_path: Path) -> None:
        spec = TrainSpec.model_validate({"data": {"source": source, "download": True}})
        with pytest.raises(DataError, match="downloads nothing") as caught:
            contact_sheet(spec, tmp_path)
        assert caught.value.pointer == "/data/download" and not list(tmp_path.iterdir())

    def test_cifar10_is_read_from_its_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Small files in the archive's format; only the checksums that torchvision knows are replaced by theirs."""
        from torchvision.datasets import CIFAR10

        folder = tmp_path / "cifar-10-batches-py"
        folder.mkdir()
        images = np.random.default_rng(0).integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
        names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
        for at, name in enumerate(names):
            part = {"data": images[2 * at : 2 * at + 2].reshape(2, -1), "labels": [0, 1]}
            (folder / name).write_bytes(pickle.dumps(part))
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("ab")}))
        sums = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
        monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
        monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
        monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
        spec = TrainSpec.model_validate({"data": {"source": "cifar10"}})
        sheet = pixels(contact_sheet(spec, tmp_path, images=2))
        shown = [holds(sheet, image.transpose(1, 2, 0).repeat(4, 0).repeat(4, 1)) for image in images]
        assert [at for at, seen in enumerate(shown) if seen] == [0, 5]

    def test_stl10_is_read_from_its_files(self, tmp_path: Path) -> None:
        """12 images in the archive's layout: columns before rows."""
        folder = tmp_path / "stl10_binary"
        folder.mkdir()
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (12, 3, 96, 96), dtype=np.uint8)
        for name, part in (("train_X", images[:4]), ("unlabeled_X", images[4:]), ("test_X", images[:2])):
            part.transpose(0, 1, 3, 2).tofile(folder / f"{name}.bin")
        for name, count in (("train_y", 4), ("test_y", 2)):
            np.ones(count, np.uint8).tofile(folder / f"{name}.bin")
        spec = TrainSpec.model_validate({"data": {"source": "stl10"}})
        sheet = pixels(contact_sheet(spec, tmp_path, images=3))
        assert [holds(sheet, images[at].transpose(1, 2, 0)) for at in (0, 4, 8, 5)] == [True, True, True, False]


def _png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header names a picture of gigabytes."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


class TestCommand:
    def test_writes_the_sheet_of_a_spec(self, photos: Path, tmp_path: Path) -> None:
        """A process of its own, whose time is the import of torch."""
        (tmp_path / "spec.json").write_text('{"data": {"source": "folder", "path": "photos"}}')
        out = tmp_path / "sheet.png"
        given = [tmp_path / "spec.json", "--data-root", photos, "--out", out, "--images", 2, "--preset", "byol"]
        command = [sys.executable, "-m", "ssl_core.preview", *map(str, given)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert str(out) in done.stdout
        spec = complete({"data": {"source": "folder", "path": "photos"}}, "byol").spec
        assert out.read_bytes() == contact_sheet(spec, photos, images=2)

    @pytest.mark.parametrize(
        "content, said",
        [
            ({"data": {"source": "folder", "path": "nowhere"}}, "/data/path: there is no folder 'nowhere'"),
            ({"data": {"source": "digits"}, "augment": {"flip": 2}}, "/augment/flip"),
            ([], "must be a JSON object"),
            ({"data": {"source": "digits", "size": 8}, "preset": 1}, "/preset"),
        ],
    )
    def test_what_is_wrong_is_a_sentence(
        self, content: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from ssl_core.preview.__main__ import main

        spec, out = tmp_path / "spec.json", tmp_path / "sheet.png"
        spec.write_text(json.dumps(content))
        monkeypatch.setattr(sys, "argv", ["preview", str(spec), "--data-root", str(tmp_path), "--out", str(out)])
        assert main() == 1 and said in capsys.readouterr().err
        assert not out.exists()
