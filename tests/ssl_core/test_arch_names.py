"""The names we keep as text are torchvision's own, all of them, and each gives an encoder."""

import pytest
import torch
import torchvision.models
from torch import nn
from torchvision.models import regnet

from ssl_core.encoders import build_encoder
from ssl_core.spec.arch_names import TORCHVISION, WS_RESNETS


def test_the_list_is_torchvisions():
    assert sorted(TORCHVISION) == sorted(torchvision.models.list_models(module=torchvision.models))
    assert len(TORCHVISION) == len(set(TORCHVISION)) == 80


@pytest.fixture
def meta(monkeypatch):
    """The meta device, where weights take neither memory nor time. RegNets compute their widths with tensors: on the CPU."""
    widths = regnet.BlockParams.from_init_params.__func__

    def on_cpu(cls, *args, **kwargs):
        with torch.device("cpu"):
            return widths(cls, *args, **kwargs)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", classmethod(on_cpu))
    with torch.device("meta"):
        yield


def _heaviest_last(names):
    return sorted(names, key=lambda name: name.split("_")[0])


@pytest.mark.parametrize("arch", _heaviest_last([*TORCHVISION, *WS_RESNETS]))
def test_every_name_gives_features_without_a_classifier(meta, arch):
    """build_encoder takes `dim` from a run on 2 images; here it must also be what the removed classifier would have read."""
    if arch in TORCHVISION:
        options = {"aux_logits": False, "init_weights": False} if arch in ("inception_v3", "googlenet") else {}
        original = torchvision.models.get_model(arch, weights=None, **options)
        last = [each for each in original.modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
        fan_in = last.in_features if isinstance(last, nn.Linear) else last.in_channels
        classes = sum(parameter.numel() for parameter in last.parameters())
        total = sum(parameter.numel() for parameter in original.parameters())
    encoder = build_encoder(arch, 224)
    if arch in TORCHVISION:
        assert encoder.dim == fan_in
        assert sum(parameter.numel() for parameter in encoder.parameters()) == total - classes
    left = [name for name, each in encoder.named_modules() if isinstance(each, nn.Dropout) and each.p > 0]
    assert left == []
