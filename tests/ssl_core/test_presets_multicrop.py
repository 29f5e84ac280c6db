"""SwAV's, DINO's and MoCo v3's recipes hold the values of the papers and their code, and fit small data."""

import pytest

from ssl_core.data.sources import SourceFacts
from ssl_core.presets import PRESETS, complete

FOLDER = {"data": {"source": "folder", "path": "photos"}}


def facts(images=50_000, size=(500, 375)):
    return SourceFacts("folder", images, 1000, None, size, 3, True, "sha256:0", ())


def test_values_of_the_papers():
    swav, dino, moco, resnet = (PRESETS[name]() for name in ("swav", "dino", "moco_v3", "moco_v3_resnet50"))
    assert (swav.method.prototypes, swav.method.epsilon, swav.method.temperature, swav.method.queue_size) == (
        3000,
        0.05,
        0.1,
        3840,
    )
    assert (swav.optim.name, swav.optim.lr, swav.optim.final_lr, swav.optim.weight_decay) == ("lars", 0.6, 0.0006, 1e-6)
    assert swav.augment.local_views.count == 6 and swav.augment.local_views.crop_scale == (0.05, 0.14)
    assert (dino.method.prototypes, dino.method.student_temperature, dino.method.center_momentum) == (65536, 0.1, 0.9)
    assert (dino.optim.lr, dino.optim.weight_decay, dino.optim.final_weight_decay) == (0.0005 * 1024 / 256, 0.04, 0.4)
    assert dino.method.branches.projector.norm is None and PRESETS["dino_resnet50"]().method.branches.projector.norm == "bn"
    assert (moco.method.temperature, moco.method.patch_projection, moco.method.branches.momentum) == (0.2, "frozen", 0.99)
    assert moco.optim.lr == pytest.approx(1.5e-4 * 4096 / 256) and moco.optim.weight_decay == 0.1
    assert resnet.optim.lr == pytest.approx(0.6 * 4096 / 256) and resnet.method.temperature == 1.0
    assert (resnet.method.branches.projector.layers, resnet.method.branches.predictor.final_norm) == (2, None)


def test_views_of_the_papers():
    """BYOL's pair: one view always blurred, the other solarised in a fifth; DINO's local views are blurred in half."""
    first, second, *local = PRESETS["dino"]().augment.views()
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    assert len(local) == 8 and (local[0].blur, local[0].solarize, local[0].crop_scale) == (0.5, 0.0, (0.05, 0.4))


@pytest.mark.parametrize(("method", "preset"), [("swav", "swav"), ("dino", "dino"), ("mocov3", "moco_v3")])
def test_a_method_without_a_preset_brings_its_recipe(method, preset):
    assert complete({**FOLDER, "method": {"name": method}}, None, facts(), gpu=True).recipe == preset


def test_few_images_shrink_batch_rate_and_queue():
    done = complete(FOLDER, "swav", facts(images=1000), gpu=False)
    assert done.spec.trainer.batch_size == 128 and done.spec.optim.lr == pytest.approx(0.3)
    assert done.spec.method.queue_size == 256, "at most half of the images"


def test_digits_have_views_of_their_own():
    """No local views, no flips: the recipe's network and optimiser stay."""
    spec = complete({"data": {"source": "digits"}}, "dino", None, gpu=False).spec
    assert spec.augment.local_views.count == 0 and spec.augment.flip == 0.0
    assert spec.encoder.arch == "timm/vit_small_patch16_224" and spec.optim.final_weight_decay == 0.4
