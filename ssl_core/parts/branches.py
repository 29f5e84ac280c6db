"""The two branches of every method here: the query's (encoder, projector, predictor) and the key's.

The key branch is a moving average of encoder and projector without gradient (`ema`), or the query branch itself: predictor
and gradient included (`shared`), or without either (`stop_gradient`). The encoder that is served is always the online one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_core.parts.ema import ema_update, momentum_at
from ssl_core.parts.gather import shuffle, unshuffle, world_size
from ssl_core.parts.heads import build_head, head_out_dim
from ssl_core.parts.precision import at_least_float32
from ssl_core.parts.prototypes import Prototypes
from ssl_core.spec.parts import BranchesConfig


class QueryOut(NamedTuple):
    """What the query branch makes of N images."""

    features: Tensor  # (N, feature_dim), the encoder's
    projection: Tensor  # (N, projector's out_dim)
    query: Tensor  # (N, key_dim), float32, on the unit sphere if so configured


class Direction(NamedTuple):
    """One view as the query and another as the key."""

    out: QueryOut
    keys: Tensor  # (N, key_dim), float32, on the unit sphere if so configured


class Branches(nn.Module):
    """Encoder and heads, twice if there is a moving average."""

    def __init__(self, encoder: nn.Module, feature_dim: int, config: BranchesConfig) -> None:
        super().__init__()
        self.config = config
        projected = head_out_dim(config.projector, feature_dim)
        predicted = head_out_dim(config.predictor, projected)
        if config.target != "shared" and predicted != projected:
            raise ValueError(
                f"the predictor's output ({predicted}) must have the size of the target's projection ({projected}): "
                "set branches.predictor.out_dim to it"
            )
        self.key_dim = predicted
        self.seen: Tensor | None = None  # the newest projection, without gradient, for whoever watches the run
        self.encoder = encoder
        self.projector = build_head(config.projector, feature_dim)
        self.predictor = build_head(config.predictor, projected)
        self.prototypes: Prototypes | None = None
        self.target_encoder: nn.Module | None = None
        self.target_projector: nn.Module | None = None
        self.target_prototypes: Prototypes | None = None
        if config.target == "ema":
            self.target_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
            self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def add_prototypes(self, prototypes: Prototypes) -> None:
        """Compare queries with `prototypes`, and keys too: with their moving average if the target is one."""
        self.prototypes = prototypes
        if self.target_encoder is not None:
            self.target_prototypes = copy.deepcopy(prototypes).requires_grad_(False)

    def query(self, view: Tensor) -> QueryOut:
        """Features, projection and query of a view (N, 3, S, S)."""
        features = self.encoder(view)
        projection = self.projector(features)
        self.seen = projection.detach()
        return QueryOut(features, projection, self._place(self.predictor(projection)))

    def key(self, view: Tensor) -> Tensor:
        """Keys (N, key_dim) of a view (N, 3, S, S); without gradient unless the target is shared."""
        if self.config.target == "stop_gradient":
            with torch.no_grad():
                return self._place(self.projector(self.encoder(view)))
        if self.target_encoder is None:
            return self.query(view).query
        with torch.no_grad():
            if not self.config.shuffle_bn:
                return self._place(self._target(view))
            shuffled, inverse = shuffle(view)
            parts = 1 if world_size() > 1 else max(min(self.config.bn_splits, len(view) // 2), 1)
            raw = torch.cat([self._target(part) for part in shuffled.tensor_split(parts)])
            return self._place(unshuffle(raw, inverse))

    def directions(self, view_a: Tensor, view_b: Tensor, *local: Tensor, symmetric: bool) -> list[Direction]:
        """(query of a, keys of b) and, if `symmetric`, (query of b, keys of a); then each local view with b's and with a's keys.

        Local views (N, 3, s, s), all of one size, are queries only (local-to-global, as in SwAV and DINO): one pass of the
        query branch over all of them, whose batch norm thus sees them together. No network sees a view twice.
        """
        if self.target_encoder is None:
            out_a, out_b = self.query(view_a), self.query(view_b)
            pairs = [Direction(out_a, self._own_keys(out_b)), Direction(out_b, self._own_keys(out_a))]
        else:
            pairs = [Direction(self.query(view_a), self.key(view_b))]
            if symmetric:
                pairs.append(Direction(self.query(view_b), self.key(view_a)))
        keys = [pair.keys for pair in pairs]
        if not symmetric:
            pairs = pairs[:1]
        if local:
            if len(keys) == 1:
                keys.append(self.key(view_a))
            pairs += [Direction(out, key) for out in self.queries(local) for key in keys]
        return pairs

    def queries(self, views: Sequence[Tensor]) -> list[QueryOut]:
        """What the query branch makes of several views of the same N images and of one size, in one pass; there may be none."""
        if not views:
            return []
        together = self.query(torch.cat(list(views)))
        parts = zip(*(part.chunk(len(views)) for part in together), strict=True)
        return [QueryOut(*part) for part in parts]

    def momentum(self, progress: float) -> float | None:
        """The moving average's m at `progress` in [0, 1] of the run; None if there is none."""
        if self.target_encoder is None:
            return None
        return momentum_at(self.config.momentum, self.config.momentum_schedule, progress)

    def update_target(self, progress: float) -> float | None:
        """Move the target towards the online network, once after each optimiser step; returns the m used (see parts/ema.py)."""
        momentum = self.momentum(progress)
        if momentum is not None and self.target_encoder is not None and self.target_projector is not None:
            ema_update(self.target_encoder, self.encoder, momentum)
            ema_update(self.target_projector, self.projector, momentum)
            if self.prototypes is not None and self.target_prototypes is not None:
                ema_update(self.target_prototypes, self.prototypes, momentum)
        return momentum

    def _own_keys(self, out: QueryOut) -> Tensor:
        """Keys (N, key_dim) where the query branch makes them too."""
        return self._place(out.projection.detach()) if self.config.target == "stop_gradient" else out.query

    def _target(self, view: Tensor) -> Tensor:
        assert self.target_encoder is not None and self.target_projector is not None
        projection: Tensor = self.target_projector(self.target_encoder(view))
        return projection

    def _place(self, x: Tensor) -> Tensor:
        """On the unit sphere, if so configured, in float32 or better: half precision is too coarse for a cosine near 1."""
        x = at_least_float32(x)
        return F.normalize(x, dim=1) if self.config.normalize else x
