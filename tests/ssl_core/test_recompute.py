"""Dropped activations change the memory that a step takes, and nothing else."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from ssl_core.encoders import build_encoder
from ssl_core.recompute import blocks, kept, recompute


def step(network: nn.Module, images: torch.Tensor) -> int:
    """A forward and a backward pass; returns the bytes that were kept between the two, parameters and inputs left out."""
    owned = {each.data_ptr() for each in (*network.parameters(), *network.buffers(), images)}
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in owned:
            sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(images).square().mean()
    held = sum(sizes.values())
    loss.backward()
    return held


@pytest.mark.parametrize(
    ("arch", "size", "count"),
    [("resnet18", 32, 8), ("ws_resnet18", 32, 8), ("timm/test_vit", 32, 6), ("mobilenet_v3_small", 32, 11)],
)
def test_gradients_and_statistics_are_the_same(arch: str, size: int, count: int) -> None:
    torch.manual_seed(0)
    plain: Any = build_encoder(arch, size, "auto").train()
    saving = copy.deepcopy(plain)
    found = recompute(saving)
    assert found == len(blocks(plain)) == count
    saving = copy.deepcopy(saving)  # as the target of a moving average is made
    images = torch.randn(4, 3, size, size)
    torch.manual_seed(1)  # where there is dropout
    held = step(plain, images)
    torch.manual_seed(1)
    assert step(saving, images) < 0.7 * held
    for (name, one), other in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, msg=name)
    for (name, one), other in zip(plain.named_buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(other, one, msg=name)


def test_a_copy_is_a_copy() -> None:
    """The copy's blocks compute with the copy's weights."""
    network: Any = build_encoder("resnet18", 32, "auto").eval()
    recompute(network)
    other = copy.deepcopy(network)
    images = torch.randn(2, 3, 32, 32)
    before = network(images)
    for weights in other.parameters():
        nn.init.zeros_(weights)
    torch.testing.assert_close(network(images), before)
    assert other(images).abs().max() == 0


def test_as_built_for_the_export() -> None:
    network: Any = build_encoder("resnet18", 32, "auto").eval()
    recompute(network)
    with kept(network):
        assert not any("forward" in module.__dict__ for module in network.modules())
    assert sum("forward" in module.__dict__ for module in network.modules()) == 8
