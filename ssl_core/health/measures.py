"""What can be measured of embeddings without a label. Pure functions of features (N, d), computed in float64 on the CPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

UNIFORMITY_ROWS = 2048  # of which all pairs are looked at: two million of them


def effective_rank(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv:2210.02885): exp of the entropy of the normalised singular values.

    features (N, d) float. Between 1 (all on one line) and min(N, d). The singular values are the roots of the eigenvalues of
    the smaller Gram matrix: in float64 precise to 1e-8 of the largest, and many times faster than their decomposition.
    """
    singular = _spectrum(features.double()).sqrt()
    share = singular / singular.sum().clamp_min(1e-12)
    entropy = -(share * (share + 1e-12).log()).sum()
    return float(entropy.exp())


def embedding_std(features: Tensor) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features, times √d.

    1 when the features are spread evenly over the sphere (each dimension then has 1/√d), 0 when they have collapsed to a
    point (Chen & He 2020, arXiv:2011.10566, figure 2). features (N, d).
    """
    unit = normalize(features.double(), dim=1)
    return float(unit.std(dim=0).mean() * math.sqrt(features.shape[1]))


def alignment(a: Tensor, b: Tensor) -> float:
    """Mean squared distance of two views of the same image on the sphere (Wang & Isola 2020, arXiv:2005.10242, α = 2).

    a, b (N, d): row i of each is a view of image i. 0 when views agree, 2 when they are as far apart as strangers, at most 4.
    """
    return float((normalize(a.double(), dim=1) - normalize(b.double(), dim=1)).square().sum(dim=1).mean())


def uniformity(features: Tensor, t: float = 2.0) -> float:
    """log of the mean over pairs of exp(-t·‖x - y‖²) on the sphere (Wang & Isola 2020, arXiv:2005.10242, t = 2).

    features (N, d), N ≥ 2; of many rows the first UNIFORMITY_ROWS. 0 when all are the same, about -2·t (-4) when they are
    spread evenly over a sphere of many dimensions.
    """
    unit = normalize(features[:UNIFORMITY_ROWS].double(), dim=1)
    return float(torch.pdist(unit).square().mul(-t).exp().mean().log())


def alpha_req(features: Tensor) -> float:
    """α-ReQ (Agrawal et al. 2022, arXiv:2202.05808): the exponent α of the covariance's eigenvalues, λ_i ∝ i^-α.

    The slope of log λ over log i, by least squares over the eigenvalues that are above 1e-6 of the largest. features (N, d),
    N ≥ 3. Large: few directions hold nearly all variance. About 1 is what the paper finds to generalise best; 0: all alike.
    NaN where fewer than three eigenvalues are left.
    """
    centred = features.double() - features.double().mean(dim=0)
    eigenvalues = _spectrum(centred).flip(0)  # largest first
    kept = eigenvalues[eigenvalues > 1e-6 * eigenvalues[0]]
    if len(kept) < 3 or float(eigenvalues[0]) <= 0:
        return math.nan
    rank = torch.arange(1, len(kept) + 1, dtype=torch.float64).log()
    rank = rank - rank.mean()
    return float(-(rank * kept.log()).sum() / rank.square().sum())


def lidar(views: Tensor, ridge: float = 1e-4) -> float:
    """LiDAR (Thilak et al. 2023, arXiv:2312.04000): effective rank of what tells images, and not views, apart.

    views (N, V, d): V ≥ 2 views of each of N images. With Σ_b the covariance of the images' means and Σ_w that of views about
    them, exp of the entropy of the eigenvalues of (Σ_w + ridge·I)^-½ Σ_b (Σ_w + ridge·I)^-½. Between 1 and min(N - 1, d).
    """
    views = views.double()
    means = views.mean(dim=1)
    between = torch.cov(means.T)
    apart = (views - means.unsqueeze(1)).flatten(0, 1)  # (N·V, d)
    within = apart.T @ apart / (views.shape[0] * (views.shape[1] - 1))
    values, vectors = torch.linalg.eigh(within + ridge * torch.eye(within.shape[0], dtype=torch.float64))
    whitener = vectors / values.clamp_min(ridge).sqrt()  # (d, d): its columns whiten
    eigenvalues = torch.linalg.eigvalsh(whitener.T @ between @ whitener).clamp_min(0)
    share = eigenvalues / eigenvalues.sum().clamp_min(1e-12)
    return float((-(share * (share + 1e-12).log()).sum()).exp())


def _spectrum(x: Tensor) -> Tensor:
    """Eigenvalues of xᵀx, (min(N, d),), smallest first, none below 0; of the smaller of xᵀx and xxᵀ, which share them."""
    gram = x @ x.T if x.shape[0] < x.shape[1] else x.T @ x
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    return eigenvalues.clamp_min(0)
