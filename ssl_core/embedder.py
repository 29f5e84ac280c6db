"""An exported encoder, loaded and ready to embed pictures.

    embedder = Embedder.load(Path("encoder"))
    vectors = embedder.embed_images([Path("cat.jpg").read_bytes()])     # float32 (1, embedder.dim)

Loading runs no code from the file (safetensors holds numbers only), and what was changed on the way is refused: the
manifest carries every file's SHA-256. Pictures are prepared by the manifest alone, through the functions that prepared
them for evaluation during training, so they arrive at the network as the same numbers.

On CPUs the network runs in OpenVINO where the manifest says that it passed its check, and torch is not even imported.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl_core.data.errors import BadImage
from ssl_core.data.images import load_square
from ssl_core.inference import openvino
from ssl_core.inference.base import AT_ONCE, Backend, Grids, Images, NoGrid, Vectors
from ssl_core.inference.check import LEAST_COSINE
from ssl_core.inference.projection import Projection
from ssl_core.manifest import PROJECTION_FILE, EncoderCorrupt, EncoderError, Manifest, UnsupportedFormat, read_manifest

log = logging.getLogger(__name__)
Choice = Literal["auto", "torch", "openvino"]

__all__ = ["BadImage", "Embedder", "EncoderCorrupt", "EncoderError", "NoGrid", "UnsupportedFormat", "random_like"]


class Embedder:
    """A frozen encoder with its preprocessing. Every method may be called from several threads at once."""

    def __init__(self, backend: Backend, manifest: Manifest, folder: Path) -> None:
        self.backend = backend
        self.facts = manifest
        self.folder = folder
        self.dim: int = manifest.dim
        self.size: int = manifest.size

    @classmethod
    def load(
        cls, folder: Path | str, device: str = "auto", backend: Choice = "auto", threads: int | None = None, streams: int = 1
    ) -> Embedder:
        """Load the encoder in `folder`.

        device: "cpu", "cuda", "cuda:1", …, or "auto", a GPU if there is one. backend: "auto" is torch on GPUs, and on CPUs
        OpenVINO if it passed its check when the encoder was exported, else torch; bf16 likewise, where the hardware multiplies
        it. threads: of OpenVINO; default: one for each processor. streams: of OpenVINO; batches that several threads of
        the caller's embed at the same time, each on its share of those threads: more in all, each later.
        Raises EncoderCorrupt (a file is missing, damaged, or does not fit) or UnsupportedFormat (of another version).
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        _check_sizes(manifest, folder)
        if device == "auto":
            device = "cuda" if _has_gpu() else "cpu"
        if device == "cpu" and backend != "torch":
            fast = _openvino(folder, manifest, threads, streams, required=backend == "openvino")
            if fast is not None:
                return cls(fast, manifest, folder)
        from ssl_core.inference.load_torch import load_torch

        return cls(load_torch(folder, manifest, device), manifest, folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of manifest.json."""
        return self.facts.model_dump(mode="json")

    def preprocess(self, data: bytes | Path) -> NDArray[np.uint8]:
        """One picture, as the content of a file or its path, to what `embed` takes: uint8 (size, size, 3).

        Raises BadImage, with a reason, for what is not a picture we read.
        """
        return load_square(data, self.size, self.facts.preprocessing.resize.short_side)

    def embed(self, images: Images) -> Vectors:
        """Prepared images, uint8 (N, size, size, 3), to vectors (N, dim) float32. N may be 0. Raises ValueError."""
        return self._in_parts(self.backend.vectors, images, (self.dim,))

    def grids(self, images: Images) -> Grids:
        """Prepared images to local features, float32 (N, rows, columns, width): a vision transformer's patches, a convolutional
        network's feature map. Raises NoGrid where the network has none."""
        grid = self.facts.grid
        if grid is None:
            raise NoGrid(f"{self.facts.arch} was exported without local features")
        return self._in_parts(self.backend.grids, images, (grid.rows, grid.columns, grid.dim))

    def embed_images(self, images: Iterable[bytes | Path]) -> Vectors:
        """Pictures, as file contents or paths, to vectors (N, dim) float32, in their order.

        Raises BadImage for the first that cannot be read, with its number in the reason.
        """
        found: list[Vectors] = []
        waiting: list[NDArray[np.uint8]] = []
        for index, data in enumerate(images):
            try:
                waiting.append(self.preprocess(data))
            except BadImage as error:
                raise BadImage(f"image {index}: {error.reason}") from error
            if len(waiting) == AT_ONCE:
                found.append(self.embed(np.stack(waiting)))
                waiting = []
        if waiting or not found:
            found.append(self.embed(self.stacked(waiting)))
        return np.concatenate(found)

    def stacked(self, images: Sequence[NDArray[np.uint8]]) -> Images:
        """Prepared images as one array (N, size, size, 3); N may be 0."""
        return np.stack(images) if len(images) else np.empty((0, self.size, self.size, 3), np.uint8)

    @cached_property
    def projection(self) -> Projection | None:
        """Principal components, for fewer dimensions; None if the encoder was exported without. Raises EncoderCorrupt."""
        facts = self.facts.projection
        if facts is None:
            return None
        path = self.folder / PROJECTION_FILE
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            raise EncoderCorrupt(f"{path} was changed: its SHA-256 is not the manifest's")
        try:
            return Projection.read(content)
        except ValueError as error:
            raise EncoderCorrupt(f"{path}: {error}") from error

    def _in_parts(self, call: Callable[[Images], Vectors], images: Images, shape: tuple[int, ...]) -> Vectors:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (self.size, self.size, 3):
            wanted = f"uint8 (N, {self.size}, {self.size}, 3)"
            raise ValueError(f"images are {images.dtype} {images.shape}; this encoder takes {wanted}")
        if len(images) <= AT_ONCE:
            return call(images) if len(images) else np.empty((0, *shape), np.float32)
        return np.concatenate([call(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)])


def random_like(folder: Path | str, seed: int = 0) -> Embedder:
    """The encoder of `folder` with random weights, to compare with: the same for the same seed.

    The program's own random state is left as it was. Raises as `Embedder.load` does for the manifest.
    """
    from ssl_core.inference.load_torch import random_torch

    folder = Path(folder)
    manifest = read_manifest(folder)
    _check_sizes(manifest, folder)
    return Embedder(random_torch(folder, manifest, seed), manifest, folder)


def warm_up() -> None:
    """Import what the first `Embedder.load` needs, which takes longer than loading: OpenVINO, and torch where there is a GPU."""
    openvino.version()
    _has_gpu()


def _openvino(folder: Path, manifest: Manifest, threads: int | None, streams: int, *, required: bool) -> Backend | None:
    """The encoder in OpenVINO, or None where it cannot be used here. Raises EncoderError if it is required, or was changed."""
    facts = manifest.backends.get("openvino")
    missing = [name for name in openvino.FILES if not (folder / name).is_file()]
    if facts is None or not facts.used or missing or openvino.version() is None:
        if required:
            why = (facts and facts.reason) or "its files are missing, or OpenVINO is not installed"
            raise EncoderError(f"{folder} cannot be run in OpenVINO: {why}")
        return None
    for name in openvino.FILES:
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != facts.files.get(name):
                raise EncoderCorrupt(f"{folder / name} was changed: its SHA-256 is not the manifest's")
    fine = facts.least_cosine.get("bf16", 0.0) >= LEAST_COSINE and openvino.multiplies_bf16()
    try:
        return openvino.OpenVino(folder, "bf16" if fine else "fp32", threads, streams)
    except RuntimeError as error:  # another version of OpenVINO, or a processor it does not know
        if required:
            raise EncoderError(f"{folder} cannot be run in OpenVINO: {error}") from error
        log.warning("%s: OpenVINO cannot load it, torch will: %s", folder, str(error).splitlines()[0])
        return None


def _check_sizes(manifest: Manifest, folder: Path) -> None:
    preprocessing = manifest.preprocessing
    if preprocessing.size != manifest.size or preprocessing.resize.short_side < manifest.size:
        raise EncoderCorrupt(
            f"{folder}: sizes do not fit: network {manifest.size} px, preprocessing {preprocessing.size} px, "
            f"short side {preprocessing.resize.short_side} px"
        )


def _has_gpu() -> bool:
    """Whether CUDA can be used; torch is asked only where a driver is loaded, for importing it takes seconds."""
    if not Path("/dev/nvidiactl").exists() and not Path("/dev/dxg").exists():
        return False
    import torch

    return torch.cuda.is_available()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EncoderCorrupt(f"{path} cannot be read: {error.strerror}") from error
