"""Random numbers without a state: uniform, independent, and a function of what they are for."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_core.augment.random import mix, mix_tensor, uniforms


def kolmogorov_smirnov(values: Tensor) -> float:
    """√n times the largest distance between the distribution of `values` and the uniform one; 1.95 has p = 0.001."""
    ordered = values.double().sort().values
    steps = torch.arange(len(ordered) + 1, dtype=torch.float64) / len(ordered)
    return float(torch.maximum((ordered - steps[:-1]).abs().max(), (ordered - steps[1:]).abs().max())) * len(ordered) ** 0.5


class TestRandom:
    def test_splitmix64_as_published(self) -> None:
        """The first outputs of SplitMix64 seeded with 0: its state before the n-th output is n times the golden constant."""
        assert [mix(n) for n in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]

    def test_tensors_and_integers_agree(self) -> None:
        values = [0, 1, -1, 2**63 - 1, -(2**63), 123456789, 1797]
        expected = [mix(value) for value in values]
        assert [value % 2**64 for value in mix_tensor(torch.tensor(values)).tolist()] == expected

    def test_uniform(self) -> None:
        drawn = uniforms(0, 0, torch.arange(20_000), 0, 6)
        assert drawn.dtype == torch.float32 and drawn.shape == (6, 20_000)
        assert 0 <= drawn.min() < 1e-3 and 1 - 1e-3 < drawn.max() < 1
        assert max(kolmogorov_smirnov(row) for row in drawn) < 1.95

    def test_uniform_over_epochs_seeds_and_purposes(self) -> None:
        one = torch.tensor([7])
        assert kolmogorov_smirnov(torch.stack([uniforms(0, epoch, one, 0, 1)[0, 0] for epoch in range(1500)])) < 1.95
        assert kolmogorov_smirnov(torch.stack([uniforms(seed, 0, one, 0, 1)[0, 0] for seed in range(1500)])) < 1.95
        assert kolmogorov_smirnov(uniforms(0, 0, one, 0, 4000)[:, 0]) < 1.95

    def test_independent(self) -> None:
        """Neighbours in every argument are uncorrelated: |r| < 4.5 / √n."""
        n = 20_000
        index = torch.arange(n)
        base = uniforms(3, 5, index, 0, 3)
        others = {
            "seed": uniforms(4, 5, index, 0, 1)[0],
            "epoch": uniforms(3, 6, index, 0, 1)[0],
            "view": uniforms(3, 5, index, 1, 1)[0],
            "image": uniforms(3, 5, index + 1, 0, 1)[0],
            "purpose": base[1],
            "seed and epoch swapped": uniforms(5, 3, index, 0, 1)[0],
        }
        for name, other in others.items():
            assert abs(torch.corrcoef(torch.stack([base[0], other]))[0, 1]) < 4.5 / n**0.5, name

    def test_pairs_fill_the_square(self) -> None:
        drawn = (uniforms(1, 0, torch.arange(64_000), 0, 2) * 8).long()
        counts = (drawn[0] * 8 + drawn[1]).bincount(minlength=64)
        assert ((counts - 1000).double() ** 2 / 1000).sum() < 63 + 5 * math.sqrt(2 * 63)  # chi-squared
