"""Gradients of convolutions on maps that are smaller than their stride."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ssl_core.encoders import build_encoder
from ssl_core.parts.small_maps import guard_small_maps
from ssl_core.parts.ws import WSConv2d


def gradient(conv: nn.Conv2d, images: Tensor, *, bf16: bool) -> Tensor:
    """Of the sum of squares, once memory of the size of the weights was used for huge numbers."""
    junk = [torch.full_like(conv.weight, 1e20) for _ in range(8)]
    del junk
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs = conv(images)
    outputs.float().square().sum().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad.clone()


@pytest.mark.parametrize("kind", [nn.Conv2d, WSConv2d])
@pytest.mark.parametrize(("side", "stride"), [(1, 2), (2, 3), (3, 4), (2, 2)])
def test_is_that_of_float32(kind, side, stride):
    torch.manual_seed(0)
    conv = kind(32, 64, 3, stride, 1, bias=False)
    images = torch.randn(8, 32, side, side)
    right = gradient(copy.deepcopy(conv), images, bf16=False)
    guard_small_maps(conv)
    for _ in range(5):
        assert (gradient(conv, images, bf16=True) - right).abs().max() < 0.05 * right.abs().max()


def test_a_border_that_meets_no_image_has_none():
    conv = nn.Conv2d(32, 64, 3, 2, 1, bias=False)
    guard_small_maps(conv)
    found = gradient(conv, torch.randn(8, 32, 1, 1), bf16=True)
    assert found[:, :, 1, 1].abs().min() > 0
    found[:, :, 1, 1] = 0
    assert not found.any()


@pytest.mark.parametrize("arch", ["resnet18", "ws_resnet18", "timm/resnet10t"])
def test_networks_have_it_on_the_smallest_views(arch):
    torch.manual_seed(0)
    encoder = build_encoder(arch, 32, "imagenet")
    for _ in range(3):
        junk = [torch.full_like(each, 1e20) for each in encoder.parameters()]
        del junk
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(torch.randn(8, 3, 16, 16))
        features.float().square().sum().backward()
        assert max(each.grad.abs().max().item() for each in encoder.parameters() if each.grad is not None) < 1e6


def test_parameters_stay_and_copies_are_guarded_too():
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1))
    names, images = list(plain.state_dict()), torch.randn(2, 3, 8, 8)
    before = plain(images)
    guard_small_maps(plain)
    twin = copy.deepcopy(plain)
    assert list(plain.state_dict()) == names
    assert torch.equal(plain(images), before) and torch.equal(twin(images), before)
    assert type(twin[0]) is type(plain[0]) is not nn.Conv2d and type(twin[1]) is nn.Conv2d
