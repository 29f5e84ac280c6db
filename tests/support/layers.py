"""Heads beside those of another library."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def assert_same_layers(ours: Sequence[nn.Module], theirs: Sequence[nn.Module]) -> None:
    """Of the same types in the same order, and as wide; biases are not looked at."""
    assert [type(each) for each in ours] == [type(each) for each in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, nn.Linear):
            assert mine.weight.shape == other.weight.shape
        if isinstance(mine, nn.BatchNorm1d):
            assert (mine.num_features, mine.affine) == (other.num_features, other.affine)
