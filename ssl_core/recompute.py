"""Activation checkpointing: what is inside a block is dropped after its forward pass and made again for its backward pass.

Memory falls to that of the blocks' outputs, for about a third more time (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def blocks(network: nn.Module) -> list[nn.Module]:
    """What a network repeats: the parts of its sequences that are no sequences themselves, none of them within another."""
    found: list[nn.Module] = []
    for child in network.children():
        parts = list(child.children()) if isinstance(child, nn.Sequential | nn.ModuleList) else []
        for part in parts:
            if isinstance(part, nn.Sequential | nn.ModuleList):
                found += blocks(nn.Sequential(part))
            elif next(part.children(), None) is not None:  # a single layer has nothing to drop
                found.append(part)
        if not parts:
            found += blocks(child)
    return found


def recompute(network: nn.Module) -> int:
    """Let every block of a network drop its activations; how many there are. Copies of the network do the same."""
    found = blocks(network)
    for block in found:
        contexts = partial(_contexts, block)
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
    return len(found)


@contextmanager
def kept(network: nn.Module) -> Iterator[None]:
    """The network as it was built, while the block lasts: to be traced and exported."""
    changed = [(module, module.__dict__.pop("forward")) for module in network.modules() if "forward" in module.__dict__]
    try:
        yield
    finally:
        for module, forward in changed:
            module.__dict__["forward"] = forward


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Those of the forward pass and of its repetition."""
    return nullcontext(), _statistics_stand_still(block)


@contextmanager
def _statistics_stand_still(block: nn.Module) -> Iterator[None]:
    """Batch norms have seen this batch; seen twice, it would count twice in their running statistics."""
    norms = [module for module in block.modules() if isinstance(module, _BatchNorm) and module.momentum is not None]
    before: list[tuple[_BatchNorm, float, Tensor | None]] = []
    for norm in norms:
        counted = None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
        before.append((norm, float(norm.momentum or 0.0), counted))
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, counted in before:
            norm.momentum = momentum
            if counted is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(counted)
