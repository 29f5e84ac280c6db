"""methods.py from end to end at its smallest, and its parts."""

import subprocess
import sys
from argparse import Namespace

import images
import methods
import pytest
from measure import Failed, child_environment

from ssl_core.presets import PRESETS
from ssl_core.spec import METHOD_NAMES

TINY = "shufflenet_v2_x0_5"


@pytest.mark.timeout(240)
def test_a_row_for_each_method_and_one_for_random_weights(cifar):
    """About 25 s: a process for each of two methods and seeds, which import torch and train."""
    options = "--presets simsiam,distill --teacher simsiam --seeds 0,1 --epochs 2 --train-images 32 --test-images 16 --batch 8"
    command = [sys.executable, methods.__file__, "--data", str(cifar), "--arch", TINY, *options.split()]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=230, env={**child_environment(), "OMP_NUM_THREADS": "1"}
    )
    assert ended.returncode == 0, ended.stderr
    assert "seeds 0 1" in ended.stdout.splitlines()[0] and "32 training and 16 held-out images" in ended.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ended.stdout.splitlines() if line.startswith("|")]
    assert rows[0] == list(methods.HEADER)
    assert [row[:2] for row in rows[2:]] == [["simsiam"] * 2, ["distill"] * 2, ["random weights", TINY]]
    for row in rows[2:]:
        for cell in row[2:4]:
            mean, spread = (float(part) for part in cell.split(" ± "))
            assert 0 <= mean <= 100 and 0 <= spread <= 100
    assert "[4/4] distill, seed 1" in ended.stderr and "left" in ended.stderr


def test_every_method_is_among_the_usual_presets_for_cifar10_if_there_is_one():
    usual = methods.usual_presets()
    others = [name for name in METHOD_NAMES if name != "distill"]
    assert [PRESETS[name]().method.name for name in usual] == [*others, "simclr", "distill"], "who is taught comes last"
    assert {"vicreg_cifar10", "barlow_twins_cifar10", "nnclr_cifar10", "dcl"} < set(usual)


def test_a_subset_is_spread_over_the_classes(cifar, tmp_path):
    assert methods.subset(cifar / "train", 8, tmp_path / "few") == 8
    assert sorted(path.parent.name for path in images.jpegs(tmp_path / "few")) == [f"class{number // 2}" for number in range(8)]
    assert methods.subset(cifar / "test", 100, tmp_path / "all") == 24


def test_what_all_have_in_common_and_what_is_the_presets(cifar):
    arguments = Namespace(size=32, arch=TINY, vit="timm/vit_tiny_patch16_224", epochs=3, batch=8, train_images=48)
    spec = methods.spec_of("simsiam", 5, cifar, arguments)
    assert (spec.encoder.arch, spec.trainer.max_epochs, spec.trainer.batch_size, spec.trainer.seed) == (TINY, 3, 8, 5)
    assert spec.optim.lr == pytest.approx(0.06 * 8 / 512) and spec.augment.blur == 0
    with pytest.raises(Failed, match=r"/encoder/arch: unknown architecture 'resnet19'"):
        methods.spec_of("simsiam", 5, cifar, Namespace(**{**vars(arguments), "arch": "resnet19"}))


def test_mean_and_spread_by_hand():
    """40 and 44: mean 42, standard deviation √8."""
    figures = [{"knn_top1": 40.0, "linear_top1": 50.0}, {"knn_top1": 44.0, "linear_top1": 50.0}]
    assert methods.cells(figures) == ["42.0 ± 2.8", "50.0 ± 0.0"] and methods.cells(figures[:1]) == ["40.0", "50.0"]
