"""From an encoder's folder to torch: the network rebuilt, its weights checked and filled in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ssl_core.encoders import Encoder, build_encoder
from ssl_core.inference.network import ServedNetwork
from ssl_core.inference.on_torch import OnTorch
from ssl_core.manifest import MODEL_FILE, EncoderCorrupt, Manifest, UnsupportedFormat, read_manifest


def load_torch(folder: Path, manifest: Manifest, device: str) -> OnTorch:
    """The encoder on a device, in bf16 on GPUs that multiply it. Raises EncoderCorrupt and UnsupportedFormat."""
    encoder = load_encoder(folder, manifest)
    place = torch.device(device)
    bf16 = place.type == "cuda" and torch.cuda.get_device_capability(place)[0] >= 8
    return OnTorch(_served(encoder, manifest), place, "bf16" if bf16 else "fp32")


def load_encoder(folder: Path, manifest: Manifest | None = None) -> Encoder:
    """The network of a folder with its verified weights, on the CPU. Raises EncoderCorrupt, UnsupportedFormat."""
    manifest = manifest or read_manifest(folder)
    encoder = _build(manifest, folder)
    state = _verified_weights(folder, manifest)
    try:
        encoder.backbone.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise EncoderCorrupt(f"{folder / MODEL_FILE} does not fit {manifest.arch}: {error}") from error
    return encoder


def random_torch(folder: Path, manifest: Manifest, seed: int) -> OnTorch:
    """The same network with random weights, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _build(manifest, folder)
    return OnTorch(_served(encoder, manifest), torch.device("cpu"))


def _served(encoder: Encoder, manifest: Manifest) -> ServedNetwork:
    return ServedNetwork(encoder, manifest.preprocessing.mean, manifest.preprocessing.std)


def _build(manifest: Manifest, folder: Path) -> Encoder:
    try:
        encoder = build_encoder(manifest.arch, manifest.size, manifest.stem)
    except ValueError as error:
        raise UnsupportedFormat(f"{folder}: {error}") from error
    if encoder.dim != manifest.dim:
        raise EncoderCorrupt(f"{folder}: the manifest says dim = {manifest.dim}, but {manifest.arch} has {encoder.dim}")
    return encoder


def _verified_weights(folder: Path, manifest: Manifest) -> dict[str, Tensor]:
    """The tensors of model.safetensors. The file is read once, so what is checked is what is used."""
    path = folder / MODEL_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EncoderCorrupt(f"{path} cannot be read: {error.strerror}") from error
    if len(content) != manifest.size_bytes:
        raise EncoderCorrupt(f"{path} has {len(content):,} bytes; the manifest says {manifest.size_bytes:,}")
    found = hashlib.sha256(content).hexdigest()
    if found != manifest.sha256:
        raise EncoderCorrupt(f"{path} was changed: its SHA-256 is {found}; the manifest says {manifest.sha256}")
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError) as error:
        raise EncoderCorrupt(f"{path} is not a safetensors file: {error}") from error
