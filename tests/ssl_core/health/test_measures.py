"""Measures against hand-worked values and against their definitions, and their invariances."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from ssl_core.health import alignment, alpha_req, effective_rank, embedding_std, lidar, uniformity


def test_effective_rank_by_hand() -> None:
    """n equal singular values have entropy log n, so the rank is n; on one line it is 1."""
    assert effective_rank(torch.eye(6)) == pytest.approx(6.0, rel=1e-6)
    assert effective_rank(torch.ones(20, 6)) == pytest.approx(1.0, abs=1e-4)
    # singular values 3 and 1: shares 3/4 and 1/4
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected, rel=1e-6)


def test_effective_rank_is_invariant_to_rotation_and_scale() -> None:
    features = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2)))[0]
    assert effective_rank(5 * features @ rotation) == pytest.approx(effective_rank(features), rel=1e-4)


def test_embedding_std_tells_spread_from_collapse() -> None:
    generator = torch.Generator().manual_seed(0)
    spread = torch.randn(4000, 32, generator=generator)
    assert embedding_std(spread) == pytest.approx(1.0, abs=0.02)
    assert embedding_std(torch.ones(100, 32) + 1e-4 * torch.randn(100, 32, generator=generator)) < 0.01


def test_effective_rank_agrees_with_the_singular_values() -> None:
    """RankMe as its paper writes it, from torch's decomposition: tall, wide, and with a mean far from 0."""
    for rows, columns, shift in ((300, 40, 0.0), (40, 300, 0.0), (64, 64, 5.0)):
        features = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows)) + shift
        share = torch.linalg.svdvals(features.double())
        share = share / share.sum()
        assert effective_rank(features) == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-6)


def test_alignment_by_hand() -> None:
    """On the circle: 0 for the same direction, 2 for a right angle, 4 for the opposite; lengths do not matter."""
    east, north = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 0.1]])
    assert alignment(east, 7 * east) == pytest.approx(0, abs=1e-12)
    assert alignment(east, north) == pytest.approx(2)
    assert alignment(torch.cat([east, east]), torch.cat([north, -east])) == pytest.approx(3), "the mean of 2 and 4"


def test_uniformity_by_hand_and_by_its_definition() -> None:
    """Two opposite points: one pair, ‖x - y‖² = 4, log exp(-2·4) = -8. A point: 0. Evenly in many dimensions: about -4."""
    assert uniformity(torch.tensor([[1.0, 0.0], [-5.0, 0.0]])) == pytest.approx(-8)
    assert uniformity(torch.ones(10, 3)) == pytest.approx(0, abs=1e-12)
    spread = torch.randn(500, 256, generator=torch.Generator().manual_seed(0))
    assert uniformity(spread) == pytest.approx(-4, abs=0.05)
    unit = normalize(spread[:40].double(), dim=1)
    pairs = [(unit[i] - unit[j]).square().sum() for i in range(40) for j in range(i)]
    assert uniformity(spread[:40]) == pytest.approx(float(torch.stack(pairs).mul(-2).exp().mean().log()), rel=1e-9)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_req_finds_the_exponent_that_was_put_in(alpha: float) -> None:
    """Orthogonal columns of mean 0 and squared length i^-α have exactly these eigenvalues."""
    basis = torch.randn(400, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    basis = torch.linalg.qr(basis - basis.mean(dim=0))[0]  # columns in the span of centred ones are centred
    features = basis * torch.arange(1, 51, dtype=torch.float64) ** (-alpha / 2)
    assert alpha_req(9 * features + 4) == pytest.approx(alpha, abs=1e-6)
    assert math.isnan(alpha_req(torch.ones(20, 8))), "a point has no spectrum"


def test_lidar_by_hand() -> None:
    """Views differ alike in all 3 directions, means as 1, 1, 0: two equal eigenvalues and none, so 2. With 3 and 1: as above."""
    means = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    noise = torch.cat([torch.eye(3), -torch.eye(3)])  # six views about each mean

    def of(means: torch.Tensor) -> float:
        return lidar(means.unsqueeze(1) + 0.1 * noise)

    assert of(means) == pytest.approx(2, rel=1e-6)
    expected = math.exp(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))  # variances 9 and 1
    assert of(means * torch.tensor([3.0, 1.0, 1.0])) == pytest.approx(expected, rel=1e-6)


def test_lidar_discounts_directions_in_which_views_differ() -> None:
    """Two directions of equal spread; in one, views of an image are as far apart as images, so that it counts for less."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(200, 1, 2, generator=generator)
    noise = torch.randn(200, 8, 2, generator=generator)
    assert lidar(means + 0.1 * noise) > 1.9
    assert lidar(means + noise * torch.tensor([0.1, 1.0])) < 1.1
