"""From `method.teacher` of a spec to the network that is learned from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from ssl_core.data.reading import bounds_of
from ssl_core.encoders import Encoder, build_encoder
from ssl_core.inference.load_torch import load_encoder
from ssl_core.manifest import read_manifest
from ssl_core.parts.teacher import Teacher
from ssl_core.spec import DistillConfig, TrainSpec
from ssl_core.spec.encoder import PUBLISHED, is_encoder_id
from ssl_core.takeover import weights_file
from ssl_core.weights import WeightsError, fill, published, read_state


class Pictures(NamedTuple):
    """What a network was trained with: side in pixels, normalisation per channel."""

    size: int = 224
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


def load_teacher(spec: TrainSpec, data_root: Path, folder: Path | None = None) -> Teacher | None:
    """The teacher of method `distill`, on the CPU; None for other methods. `data.mean` and `data.std` must be known.

    folder: the encoder that an id stands for; it may be given without one. Draws no random numbers that others would get.
    Raises WeightsError, DataError (no such file), EncoderError (a damaged folder), ValueError (no teacher, or two).
    """
    method = spec.method
    if not isinstance(method, DistillConfig):
        if folder is not None:
            raise ValueError(f"method.name = {method.name!r} has no teacher: leave --teacher out, or use 'distill'")
        return None
    assert spec.data.mean and spec.data.std
    if folder is not None:
        if method.teacher is not None and not is_encoder_id(method.teacher):
            raise ValueError(f"method.teacher = {method.teacher!r} and --teacher {folder} are two teachers: leave one out")
        manifest = read_manifest(folder)
        with torch.random.fork_rng(devices=[]):
            encoder = load_encoder(folder, manifest)
        own = Pictures(manifest.size, manifest.preprocessing.mean, manifest.preprocessing.std)
    else:
        with torch.random.fork_rng(devices=[]):
            encoder = _from_weights(method, data_root)
        own = pictures(method)
    network = encoder.to(memory_format=torch.channels_last)
    return Teacher(
        network, encoder.dim, size=own.size, mean=own.mean, std=own.std, view_mean=spec.data.mean, view_std=spec.data.std
    )


def pictures(method: DistillConfig) -> Pictures:
    """What teacher_arch is given: what the spec says, else what timm knows of its own networks, else ImageNet's numbers.

    Many of timm's vision transformers are normalised with 0.5, and not with ImageNet's.
    """
    known = Pictures()
    if method.teacher_arch is not None and method.teacher_arch.startswith("timm/"):
        import timm

        found = timm.get_pretrained_cfg(method.teacher_arch.removeprefix("timm/"))
        if found is not None:
            known = Pictures(found.input_size[-1], tuple(found.mean), tuple(found.std))
    return Pictures(method.teacher_size or known.size, method.teacher_mean or known.mean, method.teacher_std or known.std)


def _from_weights(method: DistillConfig, data_root: Path) -> Encoder:
    """teacher_arch with the weights that `teacher` names."""
    name, arch = method.teacher, method.teacher_arch
    if name is None:
        raise ValueError("method.teacher is required: an encoder (enc_…), or weights with teacher_arch")
    if is_encoder_id(name):
        raise WeightsError(f"method.teacher = {name!r} needs the encoder's folder: give it with --teacher FOLDER")
    if arch is None:
        raise ValueError(f"method.teacher_arch is required where method.teacher = {name!r} gives weights alone")
    size = pictures(method).size
    try:
        encoder = build_encoder(arch, size)
    except ValueError as error:
        raise ValueError(f"method.teacher_arch = {arch!r} at method.teacher_size = {size}: {error}") from error
    if name in PUBLISHED:
        fill(encoder.backbone, published(arch, size), f"method.teacher: what {name} publishes for {arch}")
    else:
        fill(
            encoder.backbone,
            read_state(weights_file(data_root, name, "/method/teacher"), bounds_of(data_root)),
            f"method.teacher = {name!r}",
        )
    return encoder
