"""The configs of three methods of two views and one network: SimSiam, Barlow Twins, NNCLR."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ssl_core.spec.parts import BranchesConfig, HeadConfig, MethodBase


class SimSiamConfig(MethodBase):
    """Predict one's own projection of the other view, with a stop-gradient and nothing else (Chen & He 2020)."""

    name: Literal["simsiam"] = "simsiam"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=2048, norm="bn", final_norm="bn_plain"),
        predictor=HeadConfig(layers=2, hidden_dim=512, out_dim=2048, norm="bn"),
        target="stop_gradient",
    )


class BarlowTwinsConfig(MethodBase):
    """Make the cross-correlation of the two views' outputs the identity matrix (Zbontar et al. 2021)."""

    name: Literal["barlow_twins"] = "barlow_twins"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=8192, out_dim=8192, norm="bn"), target="shared", normalize=False
    )
    redundancy_weight: float = Field(
        5e-3, ge=0, description="λ, the weight of the correlations between different output dimensions."
    )


class NNCLRConfig(MethodBase):
    """The positive of a view is the nearest past neighbour of the other view (Dwibedi et al. 2021)."""

    name: Literal["nnclr"] = "nnclr"
    branches: BranchesConfig = BranchesConfig(
        projector=HeadConfig(layers=3, hidden_dim=2048, out_dim=256, norm="bn", final_norm="bn"),
        predictor=HeadConfig(layers=2, hidden_dim=4096, out_dim=256, norm="bn"),
        target="stop_gradient",
    )
    temperature: float = Field(0.1, gt=0, le=10, description="Divides the similarities.")
    queue_size: int = Field(98304, gt=0, le=2**22, description="Past projections among which the nearest neighbour is sought.")
    negatives: Literal["cross_view", "nt_xent"] = Field(
        "cross_view",
        description="cross_view: the N - 1 other images' predictions, as in the paper's algorithm 1. "
        "nt_xent: the other images' neighbours too, 2N - 2, and each prediction looks for its neighbour, as in lightly.",
    )
