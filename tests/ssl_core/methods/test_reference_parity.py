"""Every flag of the reference implementation maps to our spec, and the first step's loss is the one its formulas give.

`spec_from_flags` is the map; `loss_by_hand` (in conftest.py) works the loss out from the flags and copies of the weights.
The reference: the implementation behind the blog post "Understanding self-supervised and contrastive learning with BYOL".
"""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from ssl_core.presets.recipes import PRESETS
from ssl_core.spec import TrainSpec

DEFAULT = json.loads(Path(__file__).with_name("reference_model_params.json").read_text())  # ModelParams, as it stands there
LARS = {"optimizer_name": "lars", "exclude_matching_parameters_from_lars": [".bias", ".bn"]}
VICREG = {
    **LARS,
    "use_vicreg_loss": True,
    "loss_type": "vic",
    "use_lagging_model": False,
    "use_unit_sphere_projection": False,
    "use_negative_examples_from_queue": False,
    "projection_mlp_layers": 3,
    "final_lr_schedule_value": 0.002,
    "mlp_normalization": "bn",
    "lars_warmup_epochs": 10,
}
BYOL = {
    **LARS,
    "prediction_mlp_layers": 2,
    "mlp_normalization": "bn",
    "loss_type": "ip",
    "use_negative_examples_from_queue": False,
    "use_both_augmentations_as_queries": True,
    "use_momentum_schedule": True,
    "loss_constant_factor": 2,
}
SIMCLR = {
    "use_negative_examples_from_batch": True,
    "use_negative_examples_from_queue": False,
    "use_lagging_model": False,
    "K": 0,
    "m": 0.0,
    "use_both_augmentations_as_queries": True,
}
BLOG = {
    "lr": 0.8,
    "max_epochs": 10,
    "loss_type": "ip",
    "use_negative_examples_from_queue": False,
    "use_both_augmentations_as_queries": True,
    "mlp_normalization": "bn",
    "prediction_mlp_layers": 2,
    "use_momentum_schedule": True,
}
XENT = {**BLOG, "use_negative_examples_from_queue": True, "loss_type": "ce", "mlp_normalization": None, "lr": 0.02}
QUEUE = {"K": 24, "dim": 8, "mlp_hidden_dim": 32}
BATCH = {**SIMCLR, "dim": 8, "mlp_hidden_dim": 32}
NONE = {**BYOL, "dim": 8, "mlp_hidden_dim": 32}

TABLE = {
    "ModelParams": {},
    "VICRegParams": VICREG,
    "BYOLParams": BYOL,
    "SimCLRParams": SIMCLR,
    "blog base": BLOG,
    "blog pred_only": {**BLOG, "mlp_normalization": None, "prediction_mlp_normalization": "bn"},
    "blog proj_only": {**BLOG, "prediction_mlp_normalization": None},
    "blog no_norm": {**BLOG, "mlp_normalization": None},
    "blog layer_norm": {**BLOG, "mlp_normalization": "ln"},
    "blog xent": XENT,
    "moco v1": {"K": 24, "dim": 8, "projection_mlp_layers": 1, "T": 0.07, "m": 0.999},
    "moco no heads": {"K": 24, "dim": 16, "projection_mlp_layers": 0},
    "moco both ways, scaled": {**QUEUE, "use_both_augmentations_as_queries": True, "loss_constant_factor": 0.7},
    "moco eqco": {**QUEUE, "use_eqco_margin": True, "eqco_alpha": 256},
    "moco bce": {**QUEUE, "loss_type": "bce"},
    "moco ip": {**QUEUE, "loss_type": "ip", "T": 0.5},
    "moco off the sphere": {**QUEUE, "use_unit_sphere_projection": False, "loss_type": "bce"},
    "moco shared, with predictor": {**QUEUE, "use_lagging_model": False, "prediction_mlp_layers": 2},
    "moco shuffled and gathered": {**QUEUE, "shuffle_batch_norm": True, "gather_keys_for_queue": True, "mlp_normalization": "gn"},
    "moco deep, weight standardised": {
        **QUEUE,
        "projection_mlp_layers": 4,
        "mlp_normalization": "gn",
        "use_mlp_weight_standardization": True,
    },
    "simclr eqco": {**BATCH, "use_eqco_margin": True, "eqco_alpha": 4096},
    "simclr one way, bce": {**BATCH, "use_both_augmentations_as_queries": False, "loss_type": "bce"},
    "simclr ip, lagging": {**BATCH, "loss_type": "ip", "use_lagging_model": True, "m": 0.99, "prediction_mlp_layers": 1},
    "batch and queue: the batch wins": {**BATCH, "use_negative_examples_from_queue": True, "K": 24},
    "byol bce": {**NONE, "loss_type": "bce"},
    "byol batch renorm": {**NONE, "mlp_normalization": "br"},
    "byol mixed norms": {**NONE, "mlp_normalization": "br", "prediction_mlp_normalization": "ln"},
    "byol shared, one way": {**NONE, "use_lagging_model": False, "use_both_augmentations_as_queries": False},
    "vicreg weights, sphere, lagging": {
        **VICREG,
        "dim": 8,
        "mlp_hidden_dim": 32,
        "invariance_loss_weight": 3.0,
        "variance_loss_weight": 11.0,
        "covariance_loss_weight": 0.5,
        "variance_loss_epsilon": 1e-2,
        "use_unit_sphere_projection": True,
        "use_lagging_model": True,
        "loss_constant_factor": 0.1,
    },
}


# The map


def spec_from_flags(changes):
    """Our spec for a set of the reference's flags. `embedding_dim` is derived here; `pin_data_memory` has nothing to pin."""
    flags = {**DEFAULT, **changes}
    both_norms = {"projection": flags["mlp_normalization"], "prediction": flags["prediction_mlp_normalization"]}
    if both_norms["prediction"] == "same":
        both_norms["prediction"] = both_norms["projection"]
    heads = {
        which: {
            "layers": flags[f"{which}_mlp_layers"],
            "hidden_dim": flags["mlp_hidden_dim"],
            "out_dim": flags["dim"],
            "norm": norm,
            "weight_standardization": flags["use_mlp_weight_standardization"],
        }
        for which, norm in both_norms.items()
    }
    branches = {
        "projector": heads["projection"],
        "predictor": heads["prediction"],
        "target": "ema" if flags["use_lagging_model"] else "shared",
        "momentum": flags["m"],
        "momentum_schedule": "cosine" if flags["use_momentum_schedule"] else "constant",
        "normalize": flags["use_unit_sphere_projection"],
        "shuffle_bn": flags["shuffle_batch_norm"],
    }
    method = {"branches": branches, "loss_scale": flags["loss_constant_factor"], **_own_fields(flags)}
    strength = flags["transform_s"]
    jitter = {"brightness": 0.8 * strength, "contrast": 0.8 * strength, "saturation": 0.8 * strength, "hue": 0.2 * strength}
    lars = flags["optimizer_name"] == "lars"
    return TrainSpec.model_validate(
        {
            "data": {
                "source": flags["dataset_name"],
                "workers": flags["num_data_workers"],
                "drop_last": flags["drop_last_batch"],
            },
            "encoder": {"arch": flags["encoder_arch"]},
            "method": method,
            "augment": {**jitter, "blur": 0.5 if flags["transform_apply_blur"] else 0.0},
            "optim": {
                "name": flags["optimizer_name"],
                "lr": flags["lr"],
                "momentum": flags["momentum"],
                "weight_decay": flags["weight_decay"],
                "exclude": "norm_and_bias" if flags["exclude_matching_parameters_from_lars"] else "none",
                "lars_eta": flags["lars_eta"],
                "lars_denominator": "sum_of_norms",
                "warmup_epochs": flags["lars_warmup_epochs"] if lars else 0,
                "final_lr": flags["final_lr_schedule_value"],
            },
            "trainer": {"max_epochs": flags["max_epochs"], "batch_size": flags["batch_size"]},
        }
    )


def _own_fields(flags):
    """The method by where its negatives come from, and the fields that it has alone."""
    if flags["use_vicreg_loss"]:
        weights = {f"{term}_weight": flags[f"{term}_loss_weight"] for term in ("invariance", "variance", "covariance")}
        return {"name": "vicreg", "variance_term": "reference", "variance_epsilon": flags["variance_loss_epsilon"], **weights}
    alpha = flags["eqco_alpha"] if flags["use_eqco_margin"] else None
    shared = {
        "loss": {"kind": flags["loss_type"], "temperature": flags["T"], "eqco_alpha": alpha},
        "symmetric": flags["use_both_augmentations_as_queries"],
    }
    if flags["use_negative_examples_from_batch"]:
        return {"name": "simclr", "negatives": "cross_view", **shared}
    if flags["use_negative_examples_from_queue"]:
        return {"name": "moco", "queue_size": flags["K"], "gather_keys": flags["gather_keys_for_queue"], **shared}
    return {"name": "byol", **shared}


# The tests


@pytest.mark.parametrize("changes", TABLE.values(), ids=TABLE.keys())
def test_first_step_loss_is_the_references(changes, build, make_batch, loss_by_hand):
    method = build(spec_from_flags(changes).method, norm=not changes.get("shuffle_batch_norm"))
    online = (method.branches.encoder, method.branches.projector, method.branches.predictor)
    networks = [copy.deepcopy(network).double() for network in online]
    queue = method.queue.keys.double() if hasattr(method, "queue") else None
    batch = make_batch(n=12)
    with torch.no_grad():
        expected = loss_by_hand({**DEFAULT, **changes}, networks, queue, tuple(view.double() for view in batch.views)).item()
    assert math.isfinite(expected) and abs(expected) > 1e-3
    assert method.training_step(batch, 0).item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_the_table_sets_every_flag_that_shapes_the_loss():
    """Each of them takes a value other than the default at least once."""
    data_and_optimizer = {
        *("encoder_arch", "dataset_name", "batch_size", "lr", "momentum", "weight_decay", "max_epochs", "lars_eta"),
        *("final_lr_schedule_value", "transform_s", "transform_apply_blur", "optimizer_name", "lars_warmup_epochs"),
        *("exclude_matching_parameters_from_lars", "num_data_workers", "drop_last_batch"),
    }
    for flag in DEFAULT.keys() - data_and_optimizer:
        assert any(changes.get(flag, DEFAULT[flag]) != DEFAULT[flag] for changes in TABLE.values()), flag


def test_optimiser_and_data_flags_arrive():
    optim = spec_from_flags(VICREG).optim
    assert (optim.name, optim.exclude, optim.warmup_epochs, optim.final_lr) == ("lars", "norm_and_bias", 10, 0.002)
    assert (optim.lr, optim.momentum, optim.weight_decay, optim.lars_eta) == (0.5, 0.9, 1e-4, 1e-3)
    assert optim.lars_denominator == "sum_of_norms"
    sgd = spec_from_flags({"lr": 0.03, "momentum": 0.8, "weight_decay": 0.0}).optim
    assert (sgd.name, sgd.exclude, sgd.warmup_epochs, sgd.final_lr, sgd.schedule) == ("sgd", "none", 0, 0, "cosine")
    assert (sgd.lr, sgd.momentum, sgd.weight_decay) == (0.03, 0.8, 0.0)
    assert spec_from_flags({**LARS, "lars_eta": 0.02, "lars_warmup_epochs": 3}).optim.lars_eta == 0.02
    spec = spec_from_flags(
        {
            "dataset_name": "cifar10",
            "encoder_arch": "ws_resnet18",
            "batch_size": 512,
            "max_epochs": 7,
            "transform_s": 1.0,
            "transform_apply_blur": False,
            "num_data_workers": 2,
            "drop_last_batch": False,
        }
    )
    assert (spec.data.source, spec.data.workers, spec.data.drop_last) == ("cifar10", 2, False)
    assert (spec.encoder.arch, spec.trainer.batch_size, spec.trainer.max_epochs) == ("ws_resnet18", 512, 7)
    assert (spec.augment.brightness, spec.augment.hue, spec.augment.blur) == (0.8, 0.2, 0.0)


def test_cross_entropy_without_negatives_is_refused():
    """The reference only warns, and its loss is 0 throughout."""
    with pytest.raises(ValidationError, match="BYOL has none"):
        spec_from_flags({"use_negative_examples_from_queue": False})


@pytest.mark.parametrize(
    ("preset", "row"),
    [
        ("moco_v2", "ModelParams"),
        ("byol", "BYOLParams"),
        ("base", "blog base"),
        ("pred_only", "blog pred_only"),
        ("proj_only", "blog proj_only"),
        ("no_norm", "blog no_norm"),
        ("layer_norm", "blog layer_norm"),
        ("xent", "blog xent"),
    ],
)
def test_our_presets_with_the_references_values_have_its_loss(preset, row, build, make_batch):
    """simclr and vicreg differ on purpose: NT-Xent, and the paper's variance term."""
    losses = [
        build(method).training_step(make_batch(), 0).item()
        for method in (PRESETS[preset]().method, spec_from_flags(TABLE[row]).method)
    ]
    assert losses[0] == losses[1]
