"""A tiny encoder, a batch of random views and a builder of methods on them."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ssl_core.methods import build_method
from ssl_core.spec import OptimConfig

DIM = 16


class Batch(NamedTuple):
    """As ssl_core.data.batch.Batch; a method asks no more of it than this."""

    views: tuple[Tensor, Tensor]
    index: Tensor


def _encoder(norm: bool = True) -> nn.Module:
    norms = [nn.BatchNorm2d(DIM)] if norm else []
    return nn.Sequential(nn.Conv2d(3, DIM, 3), *norms, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.fixture
def make_encoder():
    """make_encoder(norm=True): conv, batch norm, ReLU, pool → 16 features."""
    return _encoder


@pytest.fixture
def make_batch():
    """make_batch(n=8, seed=1): two independent random views of n images of 6×6 pixels."""

    def make(n: int = 8, seed: int = 1) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        a, b = (torch.randn(n, 3, 6, 6, generator=generator) for _ in range(2))
        return Batch((a, b), torch.arange(n))

    return make


@pytest.fixture
def build():
    """build(config, norm=True, seed=0): the method on a tiny encoder, with weights drawn by the seed."""

    def make(config, norm: bool = True, seed: int = 0):
        torch.manual_seed(seed)
        return build_method(_encoder(norm), DIM, config, OptimConfig())

    return make
