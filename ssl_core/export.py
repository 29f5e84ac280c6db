"""From a trained encoder to a folder that can be served, complete or not there at all: model.safetensors, manifest.json, and
what `inference.prepare` adds.

The weights are named as in torchvision or timm, so that other programs can read them without Imprint:
`torchvision.models.resnet18().load_state_dict(safetensors.torch.load_file(path), strict=False)`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import os
import platform
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from ssl_core import __version__
from ssl_core.data.defaults import stored_size
from ssl_core.durable import sync_folder
from ssl_core.encoders import Encoder
from ssl_core.inference.base import Images
from ssl_core.inference.prepare import prepare_serving
from ssl_core.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    MODEL_FILE,
    DataFacts,
    EncoderCorrupt,
    EncoderError,
    Manifest,
    Preprocessing,
    Resize,
    UnsupportedFormat,
)
from ssl_core.spec import TrainSpec

FOLDER = "encoder"

__all__ = ["EncoderCorrupt", "EncoderError", "ExportError", "UnsupportedFormat", "export_encoder", "weights"]


class ExportError(ValueError):
    """An encoder that must not be served: its weights are not finite."""


def export_encoder(
    encoder: nn.Module,
    spec: TrainSpec,
    facts: Mapping[str, Any],
    metrics: Mapping[str, Any],
    out_dir: Path,
    images: Images | None = None,
) -> Path:
    """Write `out_dir`/encoder/ and return its path. Written under another name, fsynced and renamed: never half there.

    encoder: what `build_encoder` made. spec: of the run; data.mean and data.std must be known in it or in `facts`.
    facts: images (int), fingerprint (str), and optionally source, short_side (px; default: at which the run kept its
    images), mean, std. metrics: name to number; what is not finite becomes null. The same weights give the same bytes.
    images: some that it was trained on, uint8 (N, size, size, 3), to check backends and fit principal components on; without
    them the encoder is served by torch, at full length. An encoder that is there already is replaced. Raises ExportError when a
    weight is NaN or infinite.
    """
    encoder = _plain(encoder)
    source = str(facts.get("source", spec.data.source))
    about = {
        "method": spec.method.name,
        "data": DataFacts(source=source, images=facts["images"], fingerprint=facts["fingerprint"]),
        "metrics": {name: _finite(value) for name, value in metrics.items()},
        "spec": spec.model_dump(mode="json"),
    }
    return write_encoder(encoder, _preprocessing(encoder, spec, facts), about, out_dir, images)


def write_encoder(
    encoder: Encoder,
    preprocessing: Preprocessing,
    about: Mapping[str, Any],
    out_dir: Path,
    images: Images | None,
    components: Literal["fit", "none"] = "fit",
) -> Path:
    """The same for an encoder of whatever origin: `about` is what its manifest says of method, data, metrics and spec.

    components: whether principal components are fitted on the images, which must be real ones then.
    """
    content = safetensors.torch.save(weights(encoder), metadata={"format": "pt"})
    out_dir.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=out_dir) as made:
        served, extras = prepare_serving(encoder, preprocessing, images, Path(made), components)
        manifest = _manifest(encoder, about, content, preprocessing, served)
        files = {MODEL_FILE: content, **extras, MANIFEST_FILE: manifest.model_dump_json(indent=2).encode() + b"\n"}
        return _publish(files, out_dir / FOLDER)


def _manifest(
    encoder: Encoder,
    about: Mapping[str, Any],
    content: bytes,
    preprocessing: Preprocessing,
    served: Mapping[str, Any],
) -> Manifest:
    return Manifest(
        format_version=FORMAT_VERSION,
        arch=encoder.arch,
        stem=encoder.stem,
        dim=encoder.dim,
        size=encoder.size,
        preprocessing=preprocessing,
        **about,
        versions=_versions(),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        created_at=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        **served,
    )


def weights(encoder: Encoder) -> dict[str, Tensor]:
    """Parameters and buffers of the network, on the CPU, contiguous, floats as float32; shared ones are repeated.

    Raises ExportError when one is not finite.
    """
    state: dict[str, Tensor] = {}
    for name, value in encoder.backbone.state_dict().items():
        tensor = value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ExportError(f"{name} holds values that are not finite: training diverged; lower optim.lr")
        # A copy: safetensors refuses tensors that share memory, and it stores row-major memory only.
        state[name] = tensor.clone(memory_format=torch.contiguous_format)
    return state


def _plain(encoder: nn.Module) -> Encoder:
    encoder = getattr(encoder, "_orig_mod", encoder)  # what torch.compile wrapped
    if not isinstance(encoder, Encoder):
        raise TypeError(f"only what build_encoder made can be exported, not a {type(encoder).__name__}")
    return encoder


def _preprocessing(encoder: Encoder, spec: TrainSpec, facts: Mapping[str, Any]) -> Preprocessing:
    """The evaluation path of training, written down."""
    short_side = facts.get("short_side") or stored_size(spec.data.changed(size=encoder.size))
    mean, std = facts.get("mean") or spec.data.mean, facts.get("std") or spec.data.std
    if not mean or not std:
        raise ValueError("mean and std of the images are not known: neither the spec nor the facts hold them")
    return Preprocessing(
        size=encoder.size,
        resize=Resize(mode="short_side_then_center_crop", interpolation="bilinear", antialias=True, short_side=int(short_side)),
        channels=3,
        mean=_three(mean),
        std=_three(std),
    )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    first, second, third = values * 3 if len(values) == 1 else values
    return first, second, third


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _versions() -> dict[str, str | None]:
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # with the build (+cpu, +cu…), which the package's metadata may lack
        "torchvision": str(torchvision.__version__),
        "lightning": _version("pytorch-lightning"),
        "timm": _version("timm"),
        "imprint": __version__,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _publish(files: Mapping[str, bytes | Path], folder: Path) -> Path:
    """Write `files` (contents, or files to move here) so that `folder` has all of them or does not exist, also after a power cut.

    A folder can't be renamed over one with content; an old one is moved aside first, so there is a moment without any.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    old = unfinished.with_name(unfinished.name + "-old")
    try:
        unfinished.mkdir()
        for name, content in files.items():
            if isinstance(content, Path):
                content.rename(unfinished / name)
            with open(unfinished / name, "ab" if isinstance(content, Path) else "xb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                    file.flush()
                os.fsync(file.fileno())
        sync_folder(unfinished)
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.exists() and old.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder
