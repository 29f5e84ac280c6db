"""A frozen network that says what is right: evaluation mode, no gradient, its own normalisation and size of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.parts.precision import at_least_float32


class Teacher:
    """views (N, 3, S, S) → features (N, dim), float32, without gradient.

    Not a module, on purpose: a method that holds it has none of its parameters, gives none to the optimiser, and writes none of
    its tensors to a checkpoint. It follows the views to their device.

    size: the side that the network sees, None for that of the views. mean, std: what its images are normalised with; view_mean,
    view_std: what the views were, one number for all channels or one for each.
    """

    def __init__(
        self,
        network: nn.Module,
        dim: int,
        *,
        size: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        view_mean: Sequence[float] = (0.0,),
        view_std: Sequence[float] = (1.0,),
    ) -> None:
        self.network = network.requires_grad_(False).eval()
        self.dim = dim
        self.size = size
        # A pixel p is (p - m)/s in a view and (p - M)/S here: the view times s/S, plus (m - M)/S.
        own, theirs, view, spread = (torch.tensor(tuple(each)).view(1, -1, 1, 1) for each in (mean, std, view_mean, view_std))
        self.scale = spread / theirs
        self.shift = (view - own) / theirs
        self.device = torch.device("cpu")

    @torch.no_grad()
    def __call__(self, view: Tensor) -> Tensor:
        """Features (N, dim) of a view (N, 3, S, S). Autocast, where it is on, holds for the network too."""
        if view.device != self.device:
            self.to(view.device)
        features: Tensor = self.network(self.prepared(view))
        return at_least_float32(features)

    def prepared(self, view: Tensor) -> Tensor:
        """The view as the network is to see it: (N, 3, size, size), resized with antialiasing, normalised anew."""
        view = view * self.scale + self.shift
        if self.size is None or view.shape[-1] == self.size:
            return view
        return F.interpolate(view, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)

    def to(self, device: torch.device) -> None:
        """Move network and numbers."""
        self.network.to(device)
        self.scale, self.shift, self.device = self.scale.to(device), self.shift.to(device), device
