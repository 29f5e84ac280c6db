"""The rules of `auto` at their edges, and what a job is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssl_core.data.sources import SourceFacts, describe
from ssl_core.presets import PRESETS, complete
from ssl_core.presets.auto import Situation, choose
from ssl_core.spec import DigitsData, TrainSpec

FOLDER = {"data": {"source": "folder", "path": "photos"}}


def facts(images: int, size: tuple[int, int] = (500, 375)) -> SourceFacts:
    return SourceFacts("folder", images, 1000, None, size, 3, True, "sha256:0", ())


def chosen(images: int = 50_000, size: int = 32, arch: str = "resnet18", stem: str = "imagenet", gpu: bool = False) -> TrainSpec:
    recipe = choose(Situation(images, size, arch, stem, gpu)).recipe
    return TrainSpec(data=DigitsData(), method=recipe.method, augment=recipe.augment, optim=recipe.optim, trainer=recipe.trainer)


@pytest.mark.parametrize(
    ("arch", "size", "stem", "gflop"),
    [
        ("resnet18", 224, "imagenet", 1.8),
        ("resnet18", 112, "auto", 0.45),  # a quarter of the pixels
        ("resnet18", 56, "auto", 1.8),  # a sixteenth of them, at sixteen times the positions
        ("ws_resnet50", 224, "auto", 4.1),
        ("mobilenet_v3_large", 32, "auto", 0.2 / 49),  # the CIFAR stem is for ResNets
        ("timm/vit_tiny_patch16_224", 224, "auto", 1.3),
        ("googlenet", 224, "auto", 4.0),  # unknown here
    ],
)
def test_cost_of_a_view(arch: str, size: int, stem: str, gflop: float) -> None:
    assert Situation(1, size, arch, stem, False).gflop == pytest.approx(gflop)


class TestEpochs:
    def test_small_networks_are_bounded_by_the_images_shown(self) -> None:
        assert chosen(30_000, arch="shufflenet_v2_x0_5").trainer.max_epochs == 10  # 300,000
        assert chosen(50_000, arch="shufflenet_v2_x0_5", gpu=True).trainer.max_epochs == 200  # 10,000,000

    def test_large_ones_by_the_budget(self) -> None:
        assert chosen(1000, 224, "resnet50").trainer.max_epochs == 7  # 30,000 GFLOP / 4.1 = 7,317 views
        assert chosen(100_000, 224, "resnet50", gpu=True).trainer.max_epochs == 24  # 10⁷ / 4.1 / 10⁵

    def test_never_fewer_than_make_sense_nor_more_than_help(self) -> None:
        assert chosen(1_000_000, 224, "vit_l_16").trainer.max_epochs == 5
        assert chosen(1_300_000, 224, "resnet50", gpu=True).trainer.max_epochs == 20
        assert chosen(20, gpu=True).trainer.max_epochs == chosen(20).trainer.max_epochs == 800


class TestBatchAndRate:
    def test_by_machine_and_size(self) -> None:
        assert [chosen(size=size).trainer.batch_size for size in (64, 65, 128, 129)] == [256, 128, 128, 64]
        assert [chosen(images, gpu=True).trainer.batch_size for images in (49_999, 50_000)] == [256, 512]
        assert chosen(50_000, 65, gpu=True).trainer.batch_size == 256

    @pytest.mark.parametrize(("images", "batch"), [(1024, 256), (1023, 128), (9, 2), (2, 2)])
    def test_four_steps_in_an_epoch(self, images: int, batch: int) -> None:
        spec = chosen(images)
        assert spec.trainer.batch_size == batch and spec.optim.lr == pytest.approx(0.12 * batch / 256)


class TestMethodAndCrops:
    def test_photographs_in_plenty_on_a_gpu_get_a_queue(self) -> None:
        moco = chosen(50_000, 96, gpu=True)
        assert moco.method.name == "moco" and moco.method.queue_size == 16384 and moco.optim.lr == 0.03
        assert chosen(10_000_000, 224, gpu=True).method.queue_size == 65536
        for other in (chosen(49_999, 96, gpu=True), chosen(50_000, 95, gpu=True), chosen(50_000, 96)):
            assert other.method.name == "simclr" and other.method.loss.temperature == 0.5 and other.optim.name == "sgd"

    @pytest.mark.parametrize("arch", ["vit_b_16", "timm/vit_small_patch16_224", "swin_t", "timm/deit_tiny_patch16_224"])
    def test_transformers_get_adamw(self, arch: str) -> None:
        spec = chosen(500_000, 224, arch, gpu=True)
        assert (spec.method.name, spec.optim.name, spec.optim.lr, spec.optim.weight_decay) == ("simclr", "adamw", 1.5e-4, 0.1)

    def test_small_crops_are_for_many_photographs(self) -> None:
        assert chosen(100_000, 96).augment.crop_scale == (0.08, 1.0)
        assert chosen(99_999, 96).augment.crop_scale == chosen(100_000, 95).augment.crop_scale == (0.2, 1.0)


class TestCompletion:
    def test_it_is_what_runs_when_nothing_is_named_and_says_why(self) -> None:
        named, unnamed = (complete(FOLDER, name, facts(200_000), gpu=True) for name in ("auto", None))
        assert named == unnamed and unnamed.recipe == "auto" and unnamed.spec.method.name == "moco"
        text = "\n".join(unnamed.notes)
        for words in (
            "method.name = moco: 65,536 negatives",
            "trainer.max_epochs = 28: chosen for 200,000 images at 1.8 GFLOP a view on a GPU",
            "trainer.batch_size = 256: ",
            "augment.crop_scale = [0.08, 1.0]: many photographs",
            "optim.name = sgd: ",
        ):
            assert words in text, text

    @pytest.mark.parametrize("gpu", [False, True])
    @pytest.mark.parametrize("images", [2, 17, 300, 5_000, 49_999, 50_000, 2_000_000])
    @pytest.mark.parametrize("size", [(20, 20), (96, 96), (4000, 3000)])
    @pytest.mark.parametrize("arch", ["resnet18", "vit_b_16", "timm/convnext_tiny"])
    def test_every_situation_has_a_valid_answer(self, arch: str, size: tuple[int, int], images: int, gpu: bool) -> None:
        done = complete({**FOLDER, "encoder": {"arch": arch}}, "auto", facts(images, size), gpu)
        trainer = done.spec.trainer
        assert 2 <= trainer.batch_size <= max(2, images // 4) and done.spec.optim.warmup_epochs <= trainer.max_epochs / 10
        assert not any("too large" in note for note in done.notes), "one note about the batch, not two"

    def test_the_users_words_win_and_are_not_explained(self) -> None:
        body: dict[str, Any] = {**FOLDER, "trainer": {"max_epochs": 3, "batch_size": 64}, "augment": {"crop_scale": [0.5, 1]}}
        done = complete(body, "auto", facts(5000), gpu=False)
        assert (done.spec.trainer.max_epochs, done.spec.trainer.batch_size) == (3, 64)
        assert done.spec.augment.crop_scale == (0.5, 1.0) and done.spec.optim.lr == pytest.approx(0.03)
        assert [note.split(" = ")[0] for note in done.notes] == ["method.name", "optim.name", "optim.lr", "optim.warmup_epochs"]

    def test_a_named_method_keeps_its_own_recipe_for_as_many_epochs_as_fit(self) -> None:
        done = complete({**FOLDER, "method": {"name": "byol"}}, "auto", facts(50_000), gpu=True)
        byol = PRESETS["byol"]()
        assert done.spec.method == byol.method and done.spec.optim.name == "lars" and done.spec.trainer.max_epochs == 111
        assert done.spec.augment.second_view.solarize == 0.2

    def test_digits_keep_their_own_views(self) -> None:
        done = complete({"data": {"source": "digits"}}, None, describe(DigitsData(), Path(".")), gpu=False)
        assert done.spec.augment.crop_scale == (0.6, 1.0) and not any("crop_scale" in note for note in done.notes)
        default = complete({"data": {"source": "digits"}}, "default", describe(DigitsData(), Path(".")), gpu=False)
        assert done.spec == default.spec, "on digits and a CPU the rules come to what `default` is"
