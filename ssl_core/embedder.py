"""An exported encoder, loaded and ready to embed pictures.

    embedder = Embedder.load(Path("encoder"))
    vectors = embedder.embed_images([Path("cat.jpg").read_bytes()])     # float32 (1, embedder.dim)

Loading runs no code from the file (safetensors holds numbers only), and what was changed on the way is refused: the
manifest carries the weights' SHA-256. Pictures are prepared by the manifest alone, through the functions that prepared
them for evaluation during training, so they arrive at the network as the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_core.augment import normalise
from ssl_core.data.errors import BadImage
from ssl_core.data.images import load_square
from ssl_core.encoders import Encoder, build_encoder
from ssl_core.manifest import MODEL_FILE, EncoderCorrupt, EncoderError, Manifest, UnsupportedFormat, read_manifest

Vectors = NDArray[np.float32]

_AT_ONCE = 64  # images in one pass through the network: bounds the memory of its activations

__all__ = ["BadImage", "Embedder", "EncoderCorrupt", "EncoderError", "UnsupportedFormat", "random_like"]


class Embedder:
    """A frozen encoder with its preprocessing. Every method may be called from several threads at once."""

    def __init__(self, encoder: Encoder, manifest: Manifest, device: str | torch.device = "cpu") -> None:
        """Take `encoder` over: it goes to `device`, into evaluation mode, without gradients, channels last in memory."""
        self._device = torch.device(device)
        encoder = encoder.requires_grad_(False).eval()
        self._encoder = encoder.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._preprocessing = manifest.preprocessing
        self.manifest: dict[str, Any] = manifest.model_dump(mode="json")
        self.dim: int = manifest.dim
        self.size: int = manifest.size

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "cpu") -> Embedder:
        """Load the encoder in `folder`.

        Raises EncoderCorrupt (a file is missing, damaged, or does not fit) or UnsupportedFormat (of another version).
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        encoder = _build(manifest, folder)
        state = _verified_weights(folder, manifest)
        try:
            encoder.backbone.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise EncoderCorrupt(f"{folder / MODEL_FILE} does not fit {manifest.arch}: {error}") from error
        return cls(encoder, manifest, device)

    def preprocess(self, data: bytes | Path) -> Tensor:
        """One picture, as the content of a file or its path, to the network's input: float32 (3, size, size), on the CPU.

        Raises BadImage, with a reason, for what is not a picture we read.
        """
        pixels = load_square(data, self.size, self._preprocessing.resize.short_side)  # (size, size, 3) uint8
        images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]  # a copy: Pillow's memory is read-only
        return normalise(images, self.size, self._preprocessing.mean, self._preprocessing.std)[0]

    @torch.inference_mode()
    def embed(self, batch: Tensor) -> Vectors:
        """Prepared images, float (N, 3, size, size), to vectors (N, dim) float32. N may be 0.

        Raises ValueError for another shape.
        """
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (3, self.size, self.size):
            raise ValueError(f"images have shape {tuple(batch.shape)}; this encoder takes (N, 3, {self.size}, {self.size})")
        vectors = torch.empty(len(batch), self.dim)
        for start in range(0, len(batch), _AT_ONCE):
            part = batch[start : start + _AT_ONCE].to(self._device, torch.float32, memory_format=torch.channels_last)
            vectors[start : start + len(part)] = self._encoder(part)
        return vectors.numpy()

    def embed_images(self, images: Iterable[bytes | Path]) -> Vectors:
        """Pictures, as file contents or paths, to vectors (N, dim) float32, in their order.

        Raises BadImage for the first that cannot be read, with its number in the reason.
        """
        found: list[Vectors] = []
        waiting: list[Tensor] = []
        for index, data in enumerate(images):
            try:
                waiting.append(self.preprocess(data))
            except BadImage as error:
                raise BadImage(f"image {index}: {error.reason}") from error
            if len(waiting) == _AT_ONCE:
                found.append(self._embed_list(waiting))
                waiting = []
        found.append(self._embed_list(waiting))
        return np.concatenate(found)

    def _embed_list(self, images: Sequence[Tensor]) -> Vectors:
        return self.embed(torch.stack(list(images)) if images else torch.empty(0, 3, self.size, self.size))


def random_like(folder: Path | str, seed: int = 0) -> Embedder:
    """The encoder of `folder` with random weights, to compare with: the same for the same seed.

    The program's own random state is left as it was. Raises as `Embedder.load` does for the manifest.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = _build(manifest, folder)
    return Embedder(encoder, manifest)


def _build(manifest: Manifest, folder: Path) -> Encoder:
    preprocessing = manifest.preprocessing
    try:
        encoder = build_encoder(manifest.arch, manifest.size, manifest.stem)
    except ValueError as error:
        raise UnsupportedFormat(f"{folder}: {error}") from error
    if encoder.dim != manifest.dim:
        raise EncoderCorrupt(f"{folder}: the manifest says dim = {manifest.dim}, but {manifest.arch} has {encoder.dim}")
    if preprocessing.size != manifest.size or preprocessing.resize.short_side < manifest.size:
        raise EncoderCorrupt(
            f"{folder}: sizes do not fit: network {manifest.size} px, preprocessing {preprocessing.size} px, "
            f"short side {preprocessing.resize.short_side} px"
        )
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
