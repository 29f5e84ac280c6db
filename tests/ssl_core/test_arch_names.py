"""The names we keep as text are torchvision's own, all of them, and each gives an encoder."""

import pytest
import torch
import torchvision.models
from torch import nn
from torchvision.models import regnet

from ssl_core import encoders
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


@pytest.fixture
def built(monkeypatch):
    """What torchvision built, as (inputs of its last layer, parameters outside of that layer), before the head is removed."""
    found = []
    get_model = encoders.get_model

    def recorded(*args, **kwargs):
        model = get_model(*args, **kwargs)
        last = [each for each in model.modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
        width = last.in_features if isinstance(last, nn.Linear) else last.in_channels
        found.append((width, _count(model) - _count(last)))
        return model

    monkeypatch.setattr(encoders, "get_model", recorded)
    return found


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("arch", [*TORCHVISION, *WS_RESNETS])
def test_every_name_gives_features_without_a_classifier(meta, built, arch):
    """`dim` comes from a run on two images; here it must be what the classifier would have read, and only that is missing."""
    encoder = encoders.build_encoder(arch, 224)
    assert built == [(encoder.dim, _count(encoder))] or arch in (*WS_RESNETS, "maxvit_t")  # those are built otherwise
    assert [name for name, each in encoder.named_modules() if isinstance(each, nn.Dropout) and each.p > 0] == []
