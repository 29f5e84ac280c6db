"""From a spec to the network and the method that trains it; the one place where the two are put together."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ssl_core.encoders import Encoder, Sizes, build_encoder
from ssl_core.methods import build_method
from ssl_core.methods.base import Method
from ssl_core.parts.teacher import Teacher
from ssl_core.recompute import recompute
from ssl_core.spec import TrainSpec


def method_of(spec: TrainSpec, fill: Callable[[Encoder], None] = lambda encoder: None, teacher: Teacher | None = None) -> Method:
    """With the weights that `fill` gives the encoder, by default random ones; channels last. `data.size` must be known.
    teacher: whom the method `distill` learns from.

    Raises ValueError for a network that cannot take it, and what `fill` raises.
    """
    assert spec.data.size
    sizes: Sizes = "several" if spec.augment.local_views.count else "one"
    encoder = build_encoder(spec.encoder.arch, spec.data.size, spec.encoder.stem, sizes)
    fill(encoder)  # before a moving average copies it
    if spec.trainer.activations == "recompute":
        recompute(encoder)
    method = build_method(encoder, encoder.dim, spec.method, spec.optim, teacher)
    return method.to(memory_format=torch.channels_last)
