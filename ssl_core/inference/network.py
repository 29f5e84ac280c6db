"""The network as it is served: pictures as bytes go in, so that a quarter of the memory travels and nobody else normalises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ssl_core.encoders import Encoder
from ssl_core.inference.base import NoGrid

# torchvision's last modules whose output still has places, by family: ResNets, Swin, RegNet, ShuffleNet, Inception, GoogLeNet,
# vision transformers, MNASNet, and the rest. Where a network has two of them, the first counts.
_LAST_WITH_PLACES = ("layer4", "permute", "trunk_output", "conv5", "Mixed_7c", "inception5b", "encoder", "layers", "features")


class ServedNetwork(nn.Module):
    """uint8 (N, S, S, 3) -> (vectors float32 (N, dim), grids float32 (N, rows, columns, width)).

    vectors: what the encoder gives for the normalised images, as in evaluation during training. grids: the last features that
    belong to places of the picture, before they are pooled: the feature map of a convolutional network (channels last), the
    patch tokens of a vision transformer (class token and others left out). `has_grid` is False for networks without.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        # `augment.normalise` in its own steps, for the same numbers to the bit; as buffers, they become part of what is compiled.
        self.register_buffer("centre", torch.tensor(tuple(mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", 1 / torch.tensor(tuple(std)).view(1, -1, 1, 1), persistent=False)
        self.has_grid = _place(encoder) is not None or _is_timm(encoder)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Raises NoGrid."""
        return self._both(self._normalised(images))

    def vectors(self, images: Tensor) -> Tensor:
        """Only the vectors (N, dim)."""
        return cast(Tensor, self.encoder(self._normalised(images)))

    def _normalised(self, images: Tensor) -> Tensor:
        """float32 (N, 3, S, S), channels last in memory, as the bytes lie already."""
        return (images.permute(0, 3, 1, 2).to(torch.float32) * (1 / 255) - self.centre) * self.scale

    def _both(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        network: Any = self.encoder.backbone
        if _is_timm(self.encoder):
            features = network.forward_features(inputs)
            return network.forward_head(features), _timm_grid(network, features)
        name = _place(self.encoder)
        if name is None:
            raise NoGrid(f"{self.encoder.arch} has no features that belong to places of the picture")
        kept: list[Tensor] = []
        handle = network.get_submodule(name).register_forward_hook(lambda module, given, output: kept.append(output))
        try:
            vectors = network(inputs)
        finally:
            handle.remove()
        features = kept[0]
        if features.ndim == 3:  # torchvision's transformers: a class token, then the patches, row by row
            return vectors, _squared(features[:, 1:])
        return vectors, features.permute(0, 2, 3, 1)


def _is_timm(encoder: Encoder) -> bool:
    return encoder.arch.startswith("timm/") and hasattr(encoder.backbone, "forward_features")


def _place(encoder: Encoder) -> str | None:
    """The name of the module whose output is the grid."""
    return next((name for name in _LAST_WITH_PLACES if isinstance(getattr(encoder.backbone, name, None), nn.Module)), None)


def _timm_grid(network: Any, features: Tensor) -> Tensor:
    """timm's features are (N, tokens, width), (N, width, rows, columns), or (N, rows, columns, width)."""
    if features.ndim == 3:
        return _squared(features[:, int(getattr(network, "num_prefix_tokens", 0)) :])
    if features.ndim != 4:
        raise NoGrid(f"features of shape {tuple(features.shape)} have no places")
    return features if features.shape[-1] == network.num_features else features.permute(0, 2, 3, 1)


def _squared(tokens: Tensor) -> Tensor:
    """(N, rows · columns, width) -> (N, rows, columns, width) of a square picture."""
    count = int(tokens.shape[1])  # a tracer's shapes are tensors
    side = math.isqrt(count)
    if side * side != count:
        raise NoGrid(f"{count} tokens are not a square of patches")
    return tokens.reshape(-1, side, side, int(tokens.shape[2]))  # a tracer would keep `len`, that of its example
