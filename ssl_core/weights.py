"""Weights to begin with: from an encoder of ours, from a file, or as timm and torchvision publish them.

    load_start(encoder, weights, data_root, folder)    what `encoder.weights` of a spec says
    fill(backbone, state, where)                       a state dict of anybody's into a network: strict about the network

Every parameter and buffer of the network must be there, in its shape; what else the file holds is a classifier, a projection
head or another network beside the one that is wanted, or it is refused. Only tensors are read: no file can run code.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ssl_core.data.reading import bounds_of, open_below, same_file
from ssl_core.encoders import Encoder
from ssl_core.inference.load_torch import load_encoder
from ssl_core.manifest import read_manifest
from ssl_core.spec.base import shown
from ssl_core.spec.encoder import PUBLISHED, is_encoder_id
from ssl_core.takeover import differences, weights_file

# A checkpoint's state dict may lie below one of these names: Lightning and MoCo, timm, DINO (whose teacher is what is used).
_WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "encoder")
# Where two networks of a checkpoint have the same names, the one that is not a moving average is meant.
_AVERAGES = ("target", "encoder_k", "momentum", "ema", "teacher")
# The first words of what comes after the features.
_HEADS = (
    "fc",
    "head",
    "heads",
    "head_dist",
    "classifier",
    "last_linear",
    "projector",
    "projection_head",
    "predictor",
    "AuxLogits",
)
_SHOWN = 3
_LONGEST = 500  # letters of a tensor's name


class WeightsError(ValueError):
    """Weights that cannot be read, or are another network's."""


def load_start(encoder: Encoder, weights: str | None, data_root: Path, folder: Path | None) -> None:
    """Fill `encoder` as `encoder.weights` of a spec says; None: it keeps its own. folder: the encoder that an id stands for.

    Raises WeightsError, DataError (no such file), EncoderError (a damaged folder).
    """
    if weights is None:
        return
    if is_encoder_id(weights):
        if folder is None:
            raise WeightsError(f"encoder.weights = {weights!r} needs the encoder's folder: give it with --encoder FOLDER")
        wrong = differences({"arch": encoder.arch, "stem": encoder.stem}, read_manifest(folder))
        if wrong:
            raise WeightsError("; ".join(f"encoder.{field} {why}" for field, why in wrong))
        fill(encoder.backbone, load_encoder(folder).backbone.state_dict(), weights)
    elif weights in PUBLISHED:
        fill(encoder.backbone, published(encoder.arch, encoder.size), f"what {weights} publishes for {encoder.arch}")
    else:
        file = weights_file(data_root, weights, "/encoder/weights")
        fill(encoder.backbone, read_state(file, bounds_of(data_root)), weights)


def fill(backbone: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy `state` into the network, whatever prefix its names have. Raises WeightsError, naming what is missing or else."""
    endless = next((name for name in state if len(name) > _LONGEST), None)
    if endless is not None:
        raise WeightsError(f"{where} has a tensor whose name has {len(endless):,} letters: {shown(endless)}")
    wanted = backbone.state_dict()
    prefix = _prefix(state, wanted)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    # Counters of batches, which old files lack, play no part in what a network computes.
    missing = [name for name in wanted if name not in own and not name.endswith("num_batches_tracked")]
    unknown = [name for name in own if name not in wanted and name.split(".")[0] not in _HEADS]
    if len(missing) == len([name for name in wanted if not name.endswith("num_batches_tracked")]):
        raise WeightsError(f"{where} holds another network: it has {_some(list(state))}, and this one {_some(list(wanted))}")
    if missing:
        raise WeightsError(f"{where} lacks {_some(missing)}: it holds another network, or a part of one")
    if unknown and not prefix:
        raise WeightsError(f"{where} also holds {_some(unknown)}, which this network has not: it is another one")
    shapes = [
        f"{name} is {tuple(own[name].shape)} and not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in own and own[name].shape != value.shape
    ]
    if shapes:
        raise WeightsError(f"{where} does not fit: {_some(shapes)}; see encoder.arch, encoder.stem and data.size")
    for name in wanted.keys() & own.keys():
        if not bool(own[name].isfinite().all()):
            raise WeightsError(f"{where}: {name} holds values that are not finite")
    backbone.load_state_dict({name: own.get(name, value) for name, value in wanted.items()}, strict=True)


def _prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What stands before the network's names in `state`: the one with the most of them, the shortest of equals."""
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in wanted:
                found["".join(f"{part}." for part in parts[:start])] += 1
    averages = {prefix: any(word in prefix for word in _AVERAGES) for prefix in found}
    return max(found, key=lambda prefix: (found[prefix], not averages[prefix], -len(prefix)), default="")


def read_state(file: Path, bounds: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of one that torch.save wrote, by name; it lies below `bounds`, see data/reading.py.

    Raises WeightsError.
    """
    try:
        with open_below(file, bounds) as opened:
            if file.suffix == ".safetensors":
                return safetensors.torch.load_file(same_file(opened, file))
            content: Any = torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{file.name} holds more than tensors, and nothing in it is run: save the state dict alone, best as safetensors "
            f"({str(error).splitlines()[0]})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise WeightsError(
            f"{file.name} is no file of weights: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error
    while isinstance(content, Mapping):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}
    )
    if not tensors:
        raise WeightsError(f"{file.name} holds no state dict: names with tensors")
    return tensors


def published(arch: str, size: int) -> dict[str, Tensor]:
    """The weights that timm or torchvision publish for `arch`, downloaded if not in a cache. Raises WeightsError."""
    try:
        if arch.startswith("timm/"):
            return _timm_published(arch.removeprefix("timm/"), size)
        from torchvision.models import get_model_weights

        return cast(dict[str, Tensor], get_model_weights(arch).DEFAULT.get_state_dict(progress=False))
    except Exception as error:  # each library and each kind of network trouble in its own way
        raise WeightsError(
            f"the published weights of {arch} cannot be had here: {(str(error) or type(error).__name__).splitlines()[0]}; "
            "put a file with them below the data root and give its path"
        ) from error


def _timm_published(name: str, size: int) -> dict[str, Tensor]:
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, img_size=size)  # fits positional embeddings to the size
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        model = timm.create_model(name, pretrained=True, num_classes=0)
    return cast(dict[str, Tensor], model.state_dict())


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown(name) for name in names[:_SHOWN]) + more
