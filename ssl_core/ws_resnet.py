"""ResNets that never look at the batch: weight standardisation and group normalisation.

Every convolution standardises its weights (`ssl_core.parts.ws`) and every batch norm becomes a group norm of 32 groups, as in
"Micro-Batch Training with Batch-Channel Normalization and Weight Standardization", Qiao et al. 2019, arXiv:1903.10520. The
layout, the names of the parameters and their number are those of torchvision's ResNets of the same depth; what is missing
are the batch norms' running statistics.
"""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ssl_core.parts.ws import WSConv2d

GROUPS = 32

_LAYOUTS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "ws_resnet18": (BasicBlock, [2, 2, 2, 2]),
    "ws_resnet34": (BasicBlock, [3, 4, 6, 3]),
    "ws_resnet50": (Bottleneck, [3, 4, 6, 3]),
    "ws_resnet101": (Bottleneck, [3, 4, 23, 3]),
    "ws_resnet152": (Bottleneck, [3, 8, 36, 3]),
}


def ws_resnet(name: str, num_classes: int = 1000) -> ResNet:
    """Build `ws_resnet18`, `34`, `50`, `101` or `152`: images (N, 3, H, W) to logits (N, num_classes).

    Convolutions start as torchvision's do (He et al., fan out); the standardisation makes the scale of that immaterial.
    Raises ValueError for another name.
    """
    if name not in _LAYOUTS:
        raise ValueError(f"unknown architecture {name!r}; valid: {', '.join(_LAYOUTS)}")
    block, layers = _LAYOUTS[name]
    model = ResNet(block, layers, num_classes=num_classes, norm_layer=_group_norm)
    _standardize_convolutions(model)
    return model


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels)


def _standardize_convolutions(model: nn.Module) -> None:
    """Put a WSConv2d with the same weight in the place of each Conv2d."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d:
                setattr(module, name, ws_convolution(child))


def ws_convolution(conv: nn.Conv2d) -> WSConv2d:
    """A WSConv2d of the same shape as `conv`; both share the parameters."""
    twin = WSConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]  # always a pair after Conv2d's constructor
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",  # its own weight would be drawn at random only to be thrown away
    )
    twin.weight, twin.bias = conv.weight, conv.bias
    return twin
