"""benchmarks/augmentation.py and accuracy.py at their smallest, and the parts that they and training.py share."""

import importlib.util
import statistics
import subprocess
import sys
import tarfile
from argparse import Namespace

import accuracy
import augmentation
import images
import pytest
import torch
from machine import describe
from PIL import Image
from reference import ReferenceImages, reference_ema, reference_loader, reference_stem, reference_transform
from torchvision.models import resnet18

from ssl_core.parts.ema import ema_update

KORNIA = importlib.util.find_spec("kornia") is not None
needs_kornia = pytest.mark.skipif(not KORNIA, reason="kornia is not installed; pip install -e '.[dev,bench]'")
TINY = "squeezenet1_1"  # the one that trains fastest at this size


def cells(printed: str) -> list[list[str]]:
    """Of the Markdown tables that a script printed, without rules. Its first line says where and with what it ran."""
    assert "torch " in printed.splitlines()[0] and "seed" in printed.splitlines()[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    assert len({len(row) for row in rows}) == 1, printed
    return [row for row in rows if not row[0].startswith("---")]


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """40 generated JPEGs of 32 px in 4 class folders."""
    folder = tmp_path_factory.mktemp("jpegs")
    images.write_jpegs(folder, 40, 32, seed=0, classes=4)
    return folder


class TestAugmentation:
    def test_the_script_prints_a_row_for_each_pipeline(self):
        """About 5 s: the script is a process of its own, which pins itself, and imports torch, lightly and kornia."""
        command = [sys.executable, augmentation.__file__, "--sizes", "32", "--batch", "8", "--seconds", "0", "--rounds", "2"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr
        header, *rows = cells(ended.stdout)
        assert header[0] == "size" and [row[1] for row in rows] == [*augmentation.PIPELINES]
        for size, name, speed, ratio in rows:
            assert size == "32 px"
            if name == "kornia" and not KORNIA:
                assert speed == "not installed"
                continue
            low, middle, high = (float(number.replace(",", "")) for number in speed.split(" / "))
            assert 0 < low <= middle <= high
            assert bool(ratio) == (name != augmentation.OURS)

    def test_ratios_are_of_the_same_round(self):
        """Rounds (10, 40) and (20, 40): ours is 4 and 2 times as fast, though the medians' ratio is 40/15."""
        speeds = {"torchvision on PIL": [10.0, 20.0], "ours": [40.0, 40.0]}
        lines = augmentation.rows(augmentation.CASES[96], speeds)
        assert lines[0] == "| 96 px | torchvision on PIL | 10 / 15 / 20 | 2.00 / 3.00 / 4.00 (goal: 3) |"
        assert lines[1] == "| 96 px | lightly | not installed | |"

    def test_what_is_not_installed_is_skipped_and_said_to_be(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "kornia", None)  # as if it were not there
        case = augmentation.Case(16, stored=16, batch=2, blur=0.0, goal=1)
        speeds = augmentation.measure(case, torch.zeros(2, 3, 16, 16, dtype=torch.uint8), seconds=0, rounds=1)
        assert set(speeds) == {"torchvision on PIL", "lightly", "ours"}
        assert "kornia is skipped" in capsys.readouterr().err

    @pytest.mark.parametrize("name", ["torchvision on PIL", "lightly", pytest.param("kornia", marks=needs_kornia), "ours"])
    def test_all_draw_the_same_recipe(self, name):
        """Of one noisy picture of mean 0.4: a fifth of the views is gray, brightness goes up and down, and views differ."""
        torch.manual_seed(0)
        case = augmentation.Case(32, stored=32, batch=400, blur=0.5, goal=1)
        stored = torch.randint(77, 128, (1, 3, 32, 32), dtype=torch.uint8).expand(400, -1, -1, -1).contiguous()
        pairs = augmentation.PIPELINES[name](case, stored)()
        pairs = [pair if pair[0].ndim == 4 else (pair[0][None], pair[1][None]) for pair in pairs]
        first, second = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
        assert first.shape == second.shape == (400, 3, 32, 32) and first.dtype == torch.float32
        assert not torch.equal(first, second)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (augmentation.MEAN, augmentation.STD))
        values = torch.cat([first, second]) * std + mean
        assert values.min() > -1e-3 and values.max() < 1 + 1e-3
        gray = float(((values.amax(1) - values.amin(1)).amax((1, 2)) < 0.01).float().mean())
        assert gray == pytest.approx(0.2, abs=0.06)  # 800 draws: three standard errors are 0.042
        assert float(values.mean()) == pytest.approx(0.4, abs=0.015)  # five standard errors
        assert float(values.mean((1, 2, 3)).std()) == pytest.approx(0.083, abs=0.01)  # 0.4 · 0.4 · √(0.8 / 3), and a little more


class TestAccuracy:
    def test_the_script_compares_the_paths(self, tmp_path, monkeypatch, capsys):
        """On an archive, two seeds."""
        for part in ("train", "test"):
            (tmp_path / part).mkdir()
            images.write_jpegs(tmp_path / part, 24, 32, seed=len(part), classes=2)
        with tarfile.open(tmp_path / "data.tar.xz", "w:xz") as archive:
            for part in ("train", "test"):
                archive.add(tmp_path / part, part)
        options = "--train-images 20 --test-images 20 --epochs 1 --batch 8 --seeds 0,1 --control --arch"
        monkeypatch.setattr(sys, "argv", ["accuracy.py", str(tmp_path / "data.tar.xz"), *options.split(), TINY])
        accuracy.main()
        rows = cells(capsys.readouterr().out)
        paths = [accuracy.RANDOM, accuracy.OURS, accuracy.PIL, accuracy.CONTROL]
        assert [row[0] for row in rows[:5]] == ["views", *paths]
        for row in rows[1:5]:
            assert all(0 <= float(cell.split(" ± ")[0]) <= 100 for cell in row[1:])
        assert [row[0] for row in rows[6:]] == [f"ours - {path}" for path in paths[2:]]
        assert all("noise" in cell for row in rows[6:] for cell in row[1:])

    def test_verdict_by_hand(self):
        """Differences 1, 2, 3: mean 2, standard error 1/√3 = 0.58. The noise is the larger of 1.15 and the seeds' spreads."""
        assert accuracy.compare([41, 42, 43], [40, 40, 40]) == "+2.00 ± 0.58, beyond noise (1.15)"
        assert accuracy.compare([31, 42, 53], [30, 40, 50]) == "+2.00 ± 0.58, within noise (11.00)"
        assert accuracy.compare([40, 40, 40], [41, 42, 43]) == "-2.00 ± 0.58, beyond noise (1.15)"
        assert accuracy.compare([41], [40]) == "+1.00, one seed: noise unknown"

    def test_only_the_views_differ(self, jpegs):
        """Two runs with the same views are the same run. Views by PIL are of the same images in the same order: every other
        picture is black, and what is black stays black under any brightness, contrast and saturation."""
        store, classes = accuracy.read(jpegs, 40)
        store.images[::2] = 0
        options = {"arch": TINY, "stem": "imagenet", "method": "simclr", "epochs": 2, "batch": 16}
        spec = accuracy.recipe(Namespace(**options, train_images=40, test_images=40), classes, seed=3)
        assert spec.augment.blur == 0 and spec.augment.views()[0] == spec.augment.views()[1]
        ours, pil = accuracy.drawn_by_us(store.images, spec), accuracy.drawn_on_pil(store.images, spec)

        def trained(draw):
            method = accuracy.build(spec)
            accuracy.train(method, spec, len(store), draw)
            return torch.cat([weight.detach().flatten() for weight in method.parameters()])

        assert torch.equal(trained(ours), trained(ours)) and not torch.equal(trained(ours), trained(pil))
        other = spec.changed(trainer={**spec.trainer.model_dump(), "seed": 4})
        first, second = (next(accuracy.build(each).parameters()) for each in (spec, other))
        assert not torch.equal(first, second)
        runs = [list(accuracy.Batches(len(store), spec, draw)) for draw in (ours, pil)]
        assert len(runs[0]) == len(accuracy.Batches(len(store), spec, ours)) == 4  # 2 epochs of 2 batches, the rest left out
        for mine, theirs in zip(*runs, strict=True):
            assert torch.equal(mine.index, theirs.index)
            assert not torch.equal(mine.views[0], theirs.views[0])
            for view in (*mine.views, *theirs.views):
                assert view.shape == (16, 3, 32, 32)
                assert torch.equal(view.flatten(2).std(2).amax(1) < 1e-4, mine.index % 2 == 0)

    def test_without_train_and_test_it_says_what_it_needs(self, jpegs):
        with pytest.raises(SystemExit, match=r"has no train/ and test/"), accuracy.unpacked(jpegs):
            pass


class TestReference:
    def test_views_are_normalised_pictures_of_the_size_asked_for(self, jpegs):
        image = images.picture(images.squares(jpegs, 1, 32)[0])
        for size in (16, 32):
            views = reference_transform(size, blur=True, mean=(0.5,) * 3, std=(0.25,) * 3)(image)
            assert all(view.shape == (3, size, size) and view.dtype == torch.float32 for view in views)
            assert all(view.min() >= -2 and view.max() <= 2 for view in views)
            assert not torch.equal(*views)

    def test_blur_smooths_about_half_of_the_views(self):
        """Of noise. Sharp views keep much of the difference between neighbours, whatever the crop; blurred ones lose it."""
        torch.manual_seed(0)
        noise = images.picture(torch.randint(256, (3, 64, 64), dtype=torch.uint8))

        def roughness(blur: bool) -> float:
            transform = reference_transform(64, blur, mean=(0.0,) * 3, std=(1.0,) * 3)
            return statistics.mean(float(transform(noise)[0].diff(dim=2).abs().mean()) for _ in range(100))

        assert roughness(True) < 0.8 * roughness(False)

    def test_images_come_from_class_folders_in_either_way_of_reading(self, jpegs):
        read = {how: ReferenceImages(jpegs, lambda image: image, read=how) for how in ("files", "arrays")}
        assert len(read["files"]) == len(read["arrays"]) == 40
        for number in (0, 17, 39):
            (image, label), (again, same) = (each[number] for each in read.values())
            assert image.tobytes() == again.tobytes() and label == same == number // 10

    def test_the_loader_drops_the_last_batch_and_keeps_pairs(self, jpegs):
        dataset = ReferenceImages(jpegs, reference_transform(32, blur=False))
        batches = list(reference_loader(dataset, batch_size=16, workers=0))
        assert len(batches) == 2
        (view_a, view_b), labels = batches[0]
        assert view_a.shape == view_b.shape == (16, 3, 32, 32)
        assert labels.shape == (16,) and not torch.equal(labels, labels.sort().values)  # shuffled

    def test_stem_makes_maps_of_34_by_34(self):
        network = reference_stem(resnet18(num_classes=4))
        shapes = []
        network.layer1.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
        network(torch.zeros(2, 3, 32, 32))
        assert shapes == [(2, 64, 34, 34)]

    def test_moving_average_equals_ours(self):
        torch.manual_seed(0)
        online, theirs, ours = (torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7)) for _ in range(3))
        ours.load_state_dict(theirs.state_dict())
        before = theirs[0].weight.detach().clone()
        reference_ema(theirs, online, 0.9)
        ema_update(ours, online, 0.9)
        torch.testing.assert_close(list(theirs.parameters()), list(ours.parameters()))
        torch.testing.assert_close(theirs[0].weight.detach(), 0.9 * before + 0.1 * online[0].weight.detach())


class TestImages:
    def test_generated_jpegs_are_a_function_of_the_seed(self, tmp_path, jpegs):
        images.write_jpegs(tmp_path / "again", 40, 32, seed=0, classes=4)
        images.write_jpegs(tmp_path / "other", 40, 32, seed=1, classes=4)
        mine, again, other = ([path.read_bytes() for path in images.jpegs(folder)] for folder in
                              (jpegs, tmp_path / "again", tmp_path / "other"))  # fmt: skip
        assert mine == again and mine != other
        with Image.open(images.jpegs(jpegs)[0]) as image:
            assert image.size == (32, 32)

    def test_squares_are_spread_over_the_classes_and_repeated(self, jpegs):
        """40 files, 10 a class: 4 of them are one of each class; 50 are all of them and 10 again."""
        assert images.squares(jpegs, 4, 32).shape == (4, 3, 32, 32)
        chosen = images.squares(jpegs, 50, 32)
        assert torch.equal(chosen[:10], chosen[40:]) and torch.equal(images.squares(jpegs, 4, 32), chosen[:40:10])

    def test_a_folder_without_jpegs_is_refused(self, tmp_path):
        with pytest.raises(SystemExit, match=r"holds no \.jpg"), images.image_folder(tmp_path, 4, 32, seed=0):
            pass
        with pytest.raises(ValueError, match="between 8 and 427"):
            images.write_jpegs(tmp_path, 1, 500, seed=0)


def test_one_line_says_what_was_measured_on():
    line = describe([0, 1], ["lightly", "no-such-package"])
    assert torch.__version__.split("+")[0] in line and "lightly 1" in line
    assert line.endswith("seeds 0 1") and "no-such-package" not in line and "\n" not in line
