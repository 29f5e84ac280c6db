"""From a file of weights to the folder of an encoder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ssl_core.encoders import build_encoder, has_stem
from ssl_core.events import Events
from ssl_core.export import ExportError, write_encoder
from ssl_core.importing.checkpoint import Checkpoint, lazies, plain
from ssl_core.importing.pickles import Lazy, Refused
from ssl_core.importing.reference import IMAGENET_MEAN, IMAGENET_STD, PADDED, is_reference, said
from ssl_core.manifest import DataFacts, ImportFacts, Preprocessing, Resize
from ssl_core.portable.check import seeded
from ssl_core.spec.encoder import known_arch
from ssl_core.spec.imported import ImportSpec
from ssl_core.weights import WeightsError, fill

SIZE = 224  # px, of a file that does not say
CHECKED_ON = 64  # seeded images that a faster backend is compared on
_WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher", "encoder")  # below which a state dict may lie


class ImportFailed(ValueError):
    """The file gives no encoder: what it is, and what would be right."""


@dataclass(frozen=True)
class _Read:
    """What a file holds. form: lightning, torch or safetensors."""

    form: str
    state: dict[str, Tensor]
    method: str = "imported"
    data: str = "unknown"
    arch: str | None = None
    size: int | None = None
    short_side: int | None = None
    epoch: int | None = None
    hyper_parameters: dict[str, Any] | None = None


def import_weights(spec: ImportSpec, file: Path, out: Path, events: Events) -> Path:
    """Write `out`/encoder/ and return its path; says what was chosen. Raises ImportFailed."""
    events.emit("phase", phase="preparing")
    try:
        read = _read(spec, file)
    except Refused as error:
        raise ImportFailed(f"{spec.filename}: {error}") from error
    arch = spec.arch or read.arch
    if arch is None:
        raise ImportFailed(f"{spec.filename} does not say which network it is: give arch, such as resnet18")
    size = spec.size or read.size or SIZE
    short_side = spec.short_side or (read.short_side if size == read.size else None) or size * 8 // 7
    if short_side < size:
        raise ImportFailed(f"short_side = {short_side} is smaller than size = {size}")
    try:
        encoder = build_encoder(known_arch(arch), size, spec.stem)
        stem = _stem(read.state)  # what the file tells, where the network has a choice
        if spec.stem == "auto" and stem not in ("auto", encoder.stem) and has_stem(encoder.backbone):
            encoder = build_encoder(known_arch(arch), size, stem)
        fill(encoder.backbone, read.state, spec.filename)
    except (WeightsError, ValueError) as error:
        raise ImportFailed(str(error)) from error
    mean, std = spec.mean or IMAGENET_MEAN, spec.std or IMAGENET_STD
    for note in _notes(spec, read, arch, size, short_side, encoder.stem):
        events.emit("note", message=note)
    events.emit("phase", phase="exporting")
    resize = Resize(mode="short_side_then_center_crop", interpolation="bilinear", antialias=True, short_side=short_side)
    about = {
        "method": read.method,
        "data": DataFacts(source=read.data, images=0, fingerprint="unknown"),
        "metrics": {},
        "spec": spec.model_dump(mode="json"),
        "imported": ImportFacts(
            file=spec.filename, sha256=spec.sha256 or _sha256(file), size_bytes=file.stat().st_size, form=read.form,
            network=spec.network if read.form == "lightning" else None, epoch=read.epoch, hyper_parameters=read.hyper_parameters,
        ),
    }  # fmt: skip
    preprocessing = Preprocessing(size=size, resize=resize, channels=3, mean=mean, std=std)
    try:
        folder = write_encoder(encoder.eval(), preprocessing, about, out, seeded(CHECKED_ON, size), components="none")
    except ExportError as error:
        raise ImportFailed(str(error)) from error
    events.emit("encoder", folder=folder.name)
    return folder


def _read(spec: ImportSpec, file: Path) -> _Read:
    """By what the file is, not by what it is called. Raises Refused."""
    with file.open("rb") as opened:
        head = opened.read(9)
    if head[:4] == b"PK\x03\x04":
        checkpoint = Checkpoint(file)
        try:
            return _of_checkpoint(spec, checkpoint)
        finally:
            checkpoint.close()
    if head[8:9] == b"{":
        try:
            return _Read("safetensors", safetensors.torch.load_file(file))
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            raise Refused(f"it is a damaged safetensors file: {str(error).splitlines()[0][:200]}") from error
    if head[:1] == b"\x80":
        raise Refused("it is a bare pickle, which is not read: save it with torch.save of today, or as safetensors")
    raise Refused("it is neither a checkpoint of torch.save nor a safetensors file")


def _of_checkpoint(spec: ImportSpec, checkpoint: Checkpoint) -> _Read:
    content = checkpoint.content
    hyper = plain(content.get("hyper_parameters")) if isinstance(content, dict) else None
    if (
        isinstance(content, dict)
        and isinstance(hyper, dict)
        and is_reference(hyper)
        and isinstance(content.get("state_dict"), dict)
    ):
        prefix, told, epoch = f"{spec.network}.", said(hyper), content.get("epoch")
        own = {name.removeprefix(prefix): each for name, each in lazies(content["state_dict"]).items() if name.startswith(prefix)}
        if not own:
            there = sorted({name.split(".")[0] for name in lazies(content["state_dict"])})
            raise Refused(f"it holds no network {spec.network!r}; there are {', '.join(there[:10])}")
        return _Read(
            "lightning", _tensors(checkpoint, own), told.method, told.data, told.arch, told.size, told.short_side,
            epoch if type(epoch) is int else None, hyper,
        )  # fmt: skip
    while isinstance(content, dict):
        inner = next((content[name] for name in _WRAPPERS if isinstance(content.get(name), dict)), None)
        if inner is None:
            break
        content = inner
    state = lazies(content)
    if not state:
        raise Refused("it holds no state dict: names with tensors")
    return _Read("torch", _tensors(checkpoint, state), hyper_parameters=hyper if isinstance(hyper, dict) else None)


def _tensors(checkpoint: Checkpoint, state: dict[str, Lazy]) -> dict[str, Tensor]:
    return {name: checkpoint.tensor(lazy) for name, lazy in state.items()}


def _stem(state: dict[str, Tensor]) -> Any:
    """By the first convolution of a ResNet; auto where there is none."""
    shapes: list[tuple[int, ...]] = [
        tuple(value.shape[2:]) for name, value in state.items() if name == "conv1.weight" or name.endswith(".conv1.weight")
    ]
    known: dict[tuple[int, ...], Any] = {(7, 7): "imagenet", (3, 3): "cifar"}
    return known.get(shapes[0], "auto") if shapes else "auto"


def _notes(spec: ImportSpec, read: _Read, arch: str, size: int, short_side: int, stem: str) -> list[str]:
    """What was chosen, and what to know."""
    found = [f"arch = {arch}: of the checkpoint"] if spec.arch is None else []
    if spec.size is None:
        found.append(f"size = {size}, short_side = {short_side}: " + ("as it was measured there" if read.size else "the default"))
    if spec.mean is None:
        found.append("mean and std: ImageNet's")
    if read.form == "lightning" and stem == "cifar":
        found.append(PADDED)
    return found


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
