"""The backbone: from images to one feature vector each, by the name of an architecture.

    build_encoder("resnet18", size=32) -> Encoder: float (N, 3, 32, 32) -> float (N, dim)

The classifier at the end of the network is removed: its last linear layer, and the dropout of the whole head. What came
before that layer is the feature, and its width is `dim`. So ConvNeXt, Swin and ViT keep their final norm; VGG and AlexNet
give the 4,096 values of their second fully connected layer, MobileNetV3 its last hidden layer and MaxViT its tanh layer (all
of them also what timm serves), and SqueezeNet, which has no linear layer, the pooled map before its last convolution.
Stochastic depth is part of a network and stays. All weights are random.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torchvision.models import MaxVit, get_model

from ssl_core.parts.small_maps import guard_small_maps
from ssl_core.spec.arch_names import TORCHVISION, WS_RESNETS
from ssl_core.spec.base import nearest
from ssl_core.spec.patches import resizable_patch
from ssl_core.ws_resnet import ws_resnet

Stem = Literal["auto", "imagenet", "cifar"]
Sizes = Literal["one", "several"]

CIFAR_STEM_UP_TO = 64  # px; a 7×7 stride 2 stem and a max-pool would leave 2×2 of a 64 px image
_LARGEST_PROBED = 1024
_CLASSES = 7  # no hidden layer of any architecture is so narrow: this many outputs mark the classifier


class Encoder(nn.Module):
    """A headless network: float (N, 3, size, size) -> float (N, dim).

    backbone: the network, with the parameter names of torchvision or timm. stem: the one that was built, "imagenet" (the
    network as its authors made it) or "cifar". `build_encoder(arch, size, stem)` makes the same network again.
    """

    def __init__(self, backbone: nn.Module, *, arch: str, size: int, stem: Literal["imagenet", "cifar"], dim: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.arch = arch
        self.size = size
        self.stem = stem
        self.dim = dim

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, 3, size, size) to features (N, dim)."""
        return cast(Tensor, self.backbone(images))


def build_encoder(arch: str, size: int, stem: Stem = "auto", sizes: Sizes = "one") -> Encoder:
    """Build a network with random weights for square images of `size` px.

    arch: a torchvision classifier, ws_resnet18 … ws_resnet152, or timm/<name>. stem: "cifar" is 3×3, stride 1, padding 1 and
    no max-pool, for ResNets only; "auto" takes it for ResNets up to 64 px. sizes: "several" lets timm's vision transformers take
    smaller images too (local views), by interpolating their positional embeddings; at `size` they are the same networks, with
    the same weights. Nothing is downloaded. Raises ValueError for an unknown name, a stem that the network does not have, and a
    size that it cannot take (with the smallest that works).
    """
    backbone = _timm(arch, size, sizes) if arch.startswith("timm/") else _without_head(_classifier(arch, size))
    stem = _resolve_stem(backbone, arch, size, stem)
    if stem == "cifar":
        _put_cifar_stem(backbone)
    guard_small_maps(backbone)
    return Encoder(backbone, arch=arch, size=size, stem=stem, dim=_probe(backbone, arch, size))


def _classifier(arch: str, size: int) -> nn.Module:
    """The network as torchvision makes it, for `_CLASSES` classes."""
    if arch in WS_RESNETS:
        return cast(nn.Module, ws_resnet(arch, num_classes=_CLASSES))
    if arch not in TORCHVISION:
        hint = nearest(arch, [*TORCHVISION, *WS_RESNETS])
        raise ValueError(f"unknown architecture {arch!r}; {hint}")
    if arch == "maxvit_t":
        return _maxvit_t(size)
    options: dict[str, object] = {}
    if arch.startswith("vit_"):
        options["image_size"] = _multiple(arch, size, of=int(arch.rsplit("_", 1)[1]))
    elif arch in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "transform_input": False, "init_weights": True}
    return cast(nn.Module, get_model(arch, weights=None, num_classes=_CLASSES, **options))


def _maxvit_t(size: int) -> nn.Module:
    """torchvision's maxvit_t, whose window is fixed at 7 and so fits 224 px only, with the window that its paper gives other
    sizes: size / 32 (Tu et al. 2022, arXiv:2204.01697: 7 at 224 px, 12 at 384). The same network at 224 px."""
    window = _multiple("maxvit_t", size, of=32) // 32
    model = MaxVit(
        input_size=(size, size),
        partition_size=window,
        stem_channels=64,
        block_channels=[64, 128, 256, 512],
        block_layers=[2, 2, 5, 2],
        head_dim=32,
        stochastic_depth_prob=0.2,
        num_classes=_CLASSES,
    )
    return cast(nn.Module, model)


def _timm(arch: str, size: int, sizes: Sizes) -> nn.Module:
    """A timm model without its classifier. Only timm's own models: names that would read a hub or a folder are refused."""
    import timm  # takes a second, and most encoders are not timm's

    name = arch.removeprefix("timm/")
    options: dict[str, Any] = {"dynamic_img_size": True} if sizes == "several" and resizable_patch(arch) else {}
    if not timm.is_model(name):
        raise ValueError(f"unknown architecture {arch!r}; in timm, {nearest(name.split('.')[0], timm.list_models())}")
    try:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, img_size=size, **options)
        except TypeError as error:
            if "img_size" not in str(error):
                raise
            return timm.create_model(name, pretrained=False, num_classes=0)
    except Exception as error:  # each family refuses sizes in its own way
        raise ValueError(f"{arch} cannot be built for images of {size} px: {error}") from error


def _multiple(arch: str, size: int, of: int) -> int:
    if size % of or size < of:
        below, above = size // of * of, (size // of + 1) * of
        near = f"{below} or {above}" if below else f"{above} (the smallest)"
        raise ValueError(f"{arch} needs images whose side is a multiple of {of} px, not {size}; the nearest is {near}")
    return size


def _without_head(model: nn.Module) -> nn.Module:
    """Replace the layer that gives the classes by the identity, and take the dropout out of the head it belongs to."""
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module.out_features == _CLASSES]
    if not found:  # SqueezeNet: dropout, 1×1 convolution to the classes, ReLU, pool
        found = ["classifier.1", "classifier.2"]
    for name in found:
        _replace(model, name)
    head = found[0].split(".")[0]
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout) and name.split(".")[0] in (head, "dropout"):
            _replace(model, name)
    return model


def _replace(model: nn.Module, name: str) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())


def has_stem(backbone: nn.Module) -> bool:
    """Whether it begins as a ResNet does, so that there is a choice of stems."""
    return (
        isinstance(getattr(backbone, "conv1", None), nn.Conv2d)
        and isinstance(getattr(backbone, "maxpool", None), nn.Module)
        and hasattr(backbone, "layer1")
    )


def _resolve_stem(backbone: nn.Module, arch: str, size: int, stem: Stem) -> Literal["imagenet", "cifar"]:
    is_resnet = has_stem(backbone)
    if stem == "cifar" and not is_resnet:
        raise ValueError(f"stem 'cifar' is for ResNets; {arch} has no 7×7 stem to replace: use 'auto' or 'imagenet'")
    if stem == "auto":
        return "cifar" if is_resnet and size <= CIFAR_STEM_UP_TO else "imagenet"
    return stem


def _put_cifar_stem(backbone: nn.Module) -> None:
    """3×3, stride 1, padding 1, no max-pool: a 32 px image stays 32×32 until the second stage. Keeps the convolution's kind."""
    old = cast(nn.Conv2d, backbone.conv1)
    new = type(old)(old.in_channels, old.out_channels, kernel_size=3, stride=1, padding=1, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")  # as torchvision starts its ResNets
    backbone.conv1 = new
    backbone.maxpool = nn.Identity()


def _probe(backbone: nn.Module, arch: str, size: int) -> int:
    """The width of the features, from a run on two images. Raises ValueError when the network cannot take the size, naming
    the smallest that it can."""
    try:
        try:
            output = _run(backbone, size, "meta")
        except Exception:  # its code mixes in tensors that are not its parameters or buffers, or the size is wrong
            output = _run(backbone, size, next(backbone.parameters()).device)
    except Exception as error:
        smallest = _smallest_size(backbone, above=size)
        hint = f"; the smallest that works is {smallest} px" if smallest else ""
        raise ValueError(f"{arch} cannot take images of {size} px{hint} ({error})") from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{arch} does not give one vector per image: 2 images became {given}")
    return output.shape[1]


def _run(backbone: nn.Module, size: int, device: torch.device | str) -> object:
    """The output for 2 images. On the meta device tensors have shapes but no values, so that nothing is computed."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            state = {
                name: torch.empty_like(value, device=device) if device == "meta" else value
                for name, value in [*backbone.named_parameters(), *backbone.named_buffers()]
            }
            return torch.func.functional_call(backbone, state, (torch.zeros(2, 3, size, size, device=device),))
    finally:
        backbone.train(was_training)


def _smallest_size(backbone: nn.Module, above: int) -> int | None:
    """The smallest size in px above `above` that the network can take, or None. A size works when all larger ones do."""

    def works(size: int) -> bool:
        try:
            _run(backbone, size, "meta")
        except Exception:
            return False
        return True

    low, high = above, _LARGEST_PROBED
    if not works(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high
