"""An encoder that Imprint pretrained: the whole code of its network, in one file that needs no Imprint.

    from modeling_imprint import load, prepare
    network, preprocessing = load("folder")                 # of config.json and model.safetensors
    vectors = network(prepare(picture, preprocessing))      # (1, 3, size, size) -> (1, dim)

Where transformers is installed: `AutoModel.from_pretrained("folder", trust_remote_code=True)(pixel_values=…).pooler_output`.
Licence of this file: MIT.
"""

import json
import pathlib

import numpy as np
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import nn

_CLASSES = 7  # marks the classifier, which is taken off
_WS = {
    "ws_resnet18": ("BasicBlock", [2, 2, 2, 2]),
    "ws_resnet34": ("BasicBlock", [3, 4, 6, 3]),
    "ws_resnet50": ("Bottleneck", [3, 4, 6, 3]),
    "ws_resnet101": ("Bottleneck", [3, 4, 23, 3]),
    "ws_resnet152": ("Bottleneck", [3, 8, 36, 3]),
}


class WSConv2d(nn.Conv2d):
    """A convolution that standardises its weights on every forward (Qiao et al. 2019, arXiv:1903.10520)."""

    def forward(self, input):
        centred = self.weight.flatten(1) - self.weight.flatten(1).mean(1, keepdim=True)
        variance = centred.square().sum(1, keepdim=True) / max(centred.shape[1] - 1, 1)
        deviation = (variance + torch.finfo(centred.dtype).tiny).sqrt()
        return self._conv_forward(input, (centred / (deviation + 1e-5)).view_as(self.weight), self.bias)


def build(arch: str, size: int, stem: str) -> nn.Module:
    """The network without its classifier, with random weights: float (N, 3, size, size) -> (N, dim)."""
    if arch.startswith("timm/"):
        import timm

        name = arch.removeprefix("timm/")
        try:
            model = timm.create_model(name, num_classes=0, img_size=size)
        except TypeError:  # most convolutional networks take any size
            model = timm.create_model(name, num_classes=0)
    else:
        model = _headless(_ws_resnet(arch) if arch in _WS else _torchvision(arch, size))
    if stem == "cifar":  # 3×3, stride 1, no max-pool
        old = model.conv1
        model.conv1 = type(old)(old.in_channels, old.out_channels, 3, stride=1, padding=1, bias=old.bias is not None)
        model.maxpool = nn.Identity()
    return model.eval()


def _torchvision(arch: str, size: int) -> nn.Module:
    if arch == "maxvit_t":  # its window is size / 32, as in its paper
        return torchvision.models.MaxVit(
            input_size=(size, size), partition_size=size // 32, stem_channels=64, block_channels=[64, 128, 256, 512],
            block_layers=[2, 2, 5, 2], head_dim=32, stochastic_depth_prob=0.2, num_classes=_CLASSES,
        )  # fmt: skip
    options: dict[str, object] = {"image_size": size} if arch.startswith("vit_") else {}
    if arch in ("inception_v3", "googlenet"):
        options = {"aux_logits": False, "transform_input": False, "init_weights": False}
    return torchvision.models.get_model(arch, weights=None, num_classes=_CLASSES, **options)


def _ws_resnet(arch: str) -> nn.Module:
    block, layers = _WS[arch]
    resnet = torchvision.models.resnet
    model = resnet.ResNet(
        getattr(resnet, block), layers, num_classes=_CLASSES, norm_layer=lambda channels: nn.GroupNorm(32, channels)
    )
    for module in model.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = WSConv2d  # the same parameters, another forward
    return model


def _headless(model: nn.Module) -> nn.Module:
    found = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module.out_features == _CLASSES]
    found = found or ["classifier.1", "classifier.2"]  # SqueezeNet ends with a convolution
    head = found[0].split(".")[0]
    dropouts = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    for name in [*found, *(each for each in dropouts if each.split(".")[0] in (head, "dropout"))]:
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, nn.Identity())
    return model


def load(folder: str = "."):
    """(network, preprocessing) of a folder with config.json and model.safetensors. Only numbers are read: no pickle."""
    place = pathlib.Path(folder)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    network = build(config["arch"], config["size"], config["stem"])
    state = {name.removeprefix("backbone."): value for name, value in load_file(place / "model.safetensors").items()}
    network.load_state_dict(state, strict=True)
    return network, config["preprocessing"]


def prepare(picture: Image.Image, preprocessing: dict) -> torch.Tensor:
    """A picture as the network wants it: float32 (1, 3, size, size), normalised."""
    short, size = preprocessing["resize"]["short_side"], preprocessing["size"]
    rgb = ImageOps.exif_transpose(picture).convert("RGB")
    square = ImageOps.fit(rgb, (short, short), Image.Resampling.BILINEAR)
    inset = (short - size) // 2
    pixels = np.array(square.crop((inset, inset, inset + size, inset + size)))
    mean, std = (torch.tensor(preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255 - mean) / std


try:
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutputWithPooling
except ImportError:  # everything above works without
    pass
else:

    class ImprintConfig(PretrainedConfig):
        """config.json."""

        model_type = "imprint"

        def __init__(self, arch="resnet18", size=224, stem="imagenet", **others):
            super().__init__(**others)
            self.arch, self.size, self.stem = arch, size, stem

    class ImprintModel(PreTrainedModel):
        """The network as transformers' AutoModel gives it; `pooler_output` is the vector."""

        config_class = ImprintConfig
        main_input_name = "pixel_values"

        def __init__(self, config):
            super().__init__(config)
            self.backbone = build(config.arch, config.size, config.stem)
            self.post_init()

        def _init_weights(self, module):
            """They come from the file."""

        def forward(self, pixel_values, **others):
            return BaseModelOutputWithPooling(pooler_output=self.backbone(pixel_values))
