"""Recipes and completion: what a user gets from a small body, and that their own words always win."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from ssl_core.data.sources import SourceFacts, describe
from ssl_core.presets import PRESETS, UnknownPreset, complete
from ssl_core.spec import METHOD_NAMES, DigitsData, explain_all


def facts(source: str = "folder", images: int = 50_000, size: tuple[int, int] = (500, 375)) -> SourceFacts:
    return SourceFacts(source, images, 1000, None, size, 3, True, "sha256:0", ())


DIGITS = describe(DigitsData(), Path("."))
FOLDER = {"data": {"source": "folder", "path": "photos"}}


def test_the_smallest_body_is_complete() -> None:
    done = complete({"data": {"source": "digits"}}, None, DIGITS, gpu=False)
    assert done.spec.method.name == "simclr"
    assert (done.spec.data.size, done.spec.encoder.stem) == (32, "imagenet")
    assert done.spec.augment.flip == 0.0, "digits are not symmetric"
    assert done.spec.trainer.batch_size * 4 <= DIGITS.images
    assert any("max_epochs" in note for note in done.notes)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "auto"])  # which has no values of its own
def test_every_preset_completes_and_says_whose_values_it_has(name: str) -> None:
    recipe = PRESETS[name]()
    assert any(word in recipe.origin for word in ("paper", "reference", "ours"))
    spec = complete(FOLDER, name, facts(images=2_000_000), gpu=True).spec
    assert spec.method == recipe.method, "two million images are enough for the recipe as it stands"


def test_reference_values() -> None:
    """The reference implementation's ModelParams, BYOLParams, VICRegParams, train_blog.py."""
    moco, byol, vicreg = (PRESETS[name]() for name in ("moco_v2", "byol", "vicreg"))
    assert (moco.method.queue_size, moco.method.loss.temperature, moco.method.branches.momentum) == (65536, 0.2, 0.996)
    assert (moco.optim.lr, moco.optim.weight_decay, moco.trainer.max_epochs, moco.trainer.batch_size) == (0.5, 1e-4, 320, 256)
    assert byol.method.loss_scale == 2.0 and byol.method.loss.kind == "ip" and byol.optim.name == "lars"
    assert (vicreg.optim.final_lr, vicreg.optim.warmup_epochs) == (0.002, 10)
    assert vicreg.method.variance_term == "paper"
    norms = {
        name: (PRESETS[name]().method.branches.projector.norm, PRESETS[name]().method.branches.predictor.norm)
        for name in ("base", "pred_only", "proj_only", "no_norm", "layer_norm", "xent")
    }
    assert norms == {
        "base": ("bn", "bn"),
        "pred_only": (None, "bn"),
        "proj_only": ("bn", None),
        "no_norm": (None, None),
        "layer_norm": ("ln", "ln"),
        "xent": (None, None),
    }
    assert [PRESETS[name]().optim.lr for name in ("base", "xent")] == [0.8, 0.02]


def test_values_of_the_siamese_papers() -> None:
    """SimSiam, appendix D; Barlow Twins, section 2.2; NNCLR, section 4.1: rates for 256 images, in proportion to the batch."""
    simsiam, barlow, nnclr, dcl = (PRESETS[name]() for name in ("simsiam", "barlow_twins", "nnclr", "dcl"))
    assert (simsiam.optim.lr, simsiam.trainer.batch_size, simsiam.trainer.max_epochs) == (0.03 * 512 / 256, 512, 800)
    branches = simsiam.method.branches
    assert (branches.projector.layers, branches.projector.final_norm, branches.predictor.hidden_dim) == (2, "bn_plain", 512)
    assert (barlow.method.redundancy_weight, barlow.method.branches.projector.out_dim) == (0.005, 8192)
    assert barlow.optim.lr == 0.2 * barlow.trainer.batch_size / 256 and barlow.optim.weight_decay == 1.5e-6
    assert barlow.method.loss_scale == pytest.approx(0.0048 / 0.2)
    assert (nnclr.method.queue_size, nnclr.method.temperature) == (98304, 0.1)
    assert nnclr.optim.lr == pytest.approx(0.3 * nnclr.trainer.batch_size / 256)
    assert (dcl.method.name, dcl.method.decoupled) == ("simclr", "dcl")


def test_every_method_has_a_recipe_of_its_own() -> None:
    for name in METHOD_NAMES:
        assert complete({**FOLDER, "method": {"name": name}}, None, facts(), gpu=True).spec.method.name == name


def test_the_users_words_win_over_recipe_and_data() -> None:
    body = {
        "data": {"source": "digits"},
        "augment": {"flip": 0.5},
        "optim": {"lr": 0.9},
        "method": {"queue_size": 5000},
        "trainer": {"batch_size": 1024, "max_epochs": 3},
    }
    spec = complete(body, "moco_v2", DIGITS, gpu=False).spec
    assert (spec.augment.flip, spec.optim.lr, spec.method.queue_size) == (0.5, 0.9, 5000)
    assert (spec.trainer.batch_size, spec.trainer.max_epochs) == (1024, 3)
    assert spec.method.loss.temperature == 0.2, "what was not said stays the recipe's"


def test_another_method_replaces_the_recipes_method_whole() -> None:
    spec = complete({**FOLDER, "method": {"name": "vicreg", "covariance_weight": 2.0}}, "moco_v2", facts(), gpu=True).spec
    assert spec.method.name == "vicreg" and spec.method.covariance_weight == 2.0
    assert spec.method.branches.target == "shared"


def test_another_method_than_the_presets_keeps_its_own_recipes_branches() -> None:
    body = {**FOLDER, "method": {"name": "vicreg", "branches": {"projector": {"layers": 2}}}}
    branches = complete(body, "moco_v2", facts(), gpu=True).spec.method.branches
    assert (branches.target, branches.normalize, branches.projector.layers, branches.projector.norm) == ("shared", False, 2, "bn")


def test_a_method_without_a_preset_brings_its_own_recipe() -> None:
    done = complete({**FOLDER, "method": {"name": "byol"}}, None, facts(), gpu=True)
    assert done.recipe == "byol" and done.spec.optim.name == "lars"


def test_the_learning_rate_follows_a_batch_size_that_was_chosen() -> None:
    spec = complete({**FOLDER, "trainer": {"batch_size": 64}}, "moco_v2", facts(), gpu=True).spec
    assert spec.optim.lr == pytest.approx(0.5 / 4)


def test_a_queue_holds_at_most_half_of_the_images() -> None:
    spec = complete(FOLDER, "moco_v2", facts(images=5000), gpu=True).spec
    assert spec.method.queue_size == 2048


def test_small_pictures_are_not_blurred_unless_asked() -> None:
    small = facts(size=(32, 32))
    first, second = complete(FOLDER, "byol", small, gpu=True).spec.augment.views()
    assert first.blur == second.blur == 0.0 and second.solarize == 0.2
    assert complete({**FOLDER, "augment": {"blur": 0.5}}, "moco_v2", small, gpu=True).spec.augment.blur == 0.5


def test_sizes_follow_the_data_and_the_machine() -> None:
    assert complete(FOLDER, None, facts(), gpu=True).spec.data.size == 224
    assert complete(FOLDER, None, facts(), gpu=False).spec.data.size == 128
    assert complete(FOLDER, None, facts(size=(96, 96)), gpu=True).spec.data.size == 96


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(UnknownPreset, match="did you mean 'moco_v2'"):
        complete(FOLDER, "moco-v2")


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({**FOLDER, "method": {"name": "mocco"}}, "/method/name", "did you mean 'moco'"),
        ({**FOLDER, "method": {"name": "moco", "queue_sise": 1}}, "/method/queue_sise", "did you mean 'queue_size'"),
        ({**FOLDER, "method": {"name": "moco", "queue_size": 0}}, "/method/queue_size", "greater than 0 (got 0)"),
        ({**FOLDER, "method": {"name": "byol", "loss": {"kind": "ce"}}}, "/method/loss/kind", "BYOL has none"),
        ({**FOLDER, "encoder": {"arch": "resnet19"}}, "/encoder/arch", "did you mean 'resnet18'"),
        ({**FOLDER, "trainer": {"max_epoch": 1}}, "/trainer/max_epoch", "did you mean 'max_epochs'"),
        ({**FOLDER, "augment": {"second_view": {"flipp": 1}}}, "/augment/second_view/flipp", "did you mean 'flip'"),
        ({"data": {"source": "digit"}}, "/data/source", "did you mean 'digits'"),
        ({"data": {"source": "folder", "path": "../etc"}}, "/data/path", "below the data root"),
        ({"data": {"source": "folder", "path": "/etc"}}, "/data/path", "below the data root"),
        ({**FOLDER, "optim": {"lr": float("nan")}}, "/optim/lr", "finite"),
        ({**FOLDER, "trainer": {"devices": 3, "batch_size": 256}}, "/trainer", "must be a multiple of devices = 3"),
        ({**FOLDER, "trainer": {"devices": 2, "batch_size": 2}}, "/trainer", "at least 2 images for each"),
        ({**FOLDER, "trainer": {"devices": 0}}, "/trainer/devices", "'auto'"),
        ({**FOLDER, "data": {**FOLDER["data"], "workers": -1}}, "/data/workers", "'auto'"),
        ({**FOLDER, "evaluate": {"every_epochs": 0}}, "/evaluate/every_epochs", "'auto'"),
        ({"data": {"sorce": "digits"}}, "/data/source", "source is missing; valid: digits"),
        ({"data": {"source": 5}}, "/data/source", "source = 5 is not a name; valid: digits"),
        (
            {**FOLDER, "method": {"name": "simclr", "loss": {"kind": "ip", "eqco_alpha": 9}}},
            "/method/loss",
            "margin on cross-entropy",
        ),
    ],
)
def test_errors_name_the_field_the_value_and_what_would_be_right(body: dict, pointer: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        complete(body)
    problems = dict(explain_all(caught.value))
    assert pointer in problems and words in problems[pointer], problems
    assert not any("int" in place.split("/") or "constrained" in place for place in problems), "no place but the document's own"


def test_validation_does_not_import_torch() -> None:
    code = "import sys, ssl_core.spec, ssl_core.presets, ssl_core.events; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        ({"predictor": {"layers": 2, "out_dim": 64}}, "predictor.out_dim = 64 must equal projector.out_dim = 128"),
        ({"target": "shared", "shuffle_bn": True}, "shuffle_bn protects a target network"),
        ({"projector": {"layers": 2, "hidden_dim": 100, "norm": "gn"}}, "multiple of 32"),
    ],
)
def test_branches_that_cannot_work_are_refused(branches: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        complete({**FOLDER, "method": {"name": "moco", "branches": branches}})
