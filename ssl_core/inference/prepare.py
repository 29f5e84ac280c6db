"""At export: build what makes an encoder fast to serve, and check it against the network that was trained."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ssl_core.encoders import Encoder
from ssl_core.inference import openvino
from ssl_core.inference.base import Backend, Images, Vectors
from ssl_core.inference.check import IMAGES, LEAST_COSINE, all_vectors, least_cosine
from ssl_core.inference.network import ServedNetwork
from ssl_core.inference.on_torch import OnTorch
from ssl_core.inference.projection import Projection
from ssl_core.manifest import PROJECTION_FILE, BackendFacts, GridFacts, Preprocessing, ProjectionFacts

PROJECTION_IMAGES = 2048  # that principal components are fitted on; several per dimension of most encoders
_SHOWN = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)  # dimensions whose share of the variance the manifest tells

Parts = dict[str, Any]  # fields of the manifest
Files = dict[str, bytes | Path]  # what belongs beside it


def prepare_serving(
    encoder: Encoder,
    preprocessing: Preprocessing,
    images: Images | None,
    folder: Path,
    components: Literal["fit", "none"] = "fit",
) -> tuple[Parts, Files]:
    """Fields for the manifest (backends, grid, projection), and the files that they speak of, written into `folder`.

    images: uint8 (N, size, size, 3), real ones. Without any nothing can be checked, and nothing is built. The encoder stays as
    it is. What fails here is written down and does without: an encoder that torch can serve is never lost.
    """
    if images is None or len(images) == 0:
        return {}, {}
    network = ServedNetwork(copy.deepcopy(encoder).to("cpu", torch.float32), preprocessing.mean, preprocessing.std)
    trained = OnTorch(network, torch.device("cpu"))
    some = images[np.linspace(0, len(images) - 1, min(IMAGES, len(images)), dtype=int)]
    expected = all_vectors(trained, some)
    facts, files, fast = _openvino(network, some, expected, folder)
    parts: Parts = {"backends": {"openvino": facts}, "grid": _grid(network, trained, some)}
    if len(images) > 1 and components == "fit":
        fitted = Projection.fit(all_vectors(fast or trained, images[:PROJECTION_IMAGES]))
        content = fitted.dump()
        files[PROJECTION_FILE] = content
        parts["projection"] = ProjectionFacts(
            most=fitted.most,
            images=min(len(images), PROJECTION_IMAGES),
            explained={str(k): round(fitted.kept(k), 4) for k in _SHOWN if k <= fitted.most},
            sha256=hashlib.sha256(content).hexdigest(),
        )
    return parts, files


def _openvino(
    network: ServedNetwork, images: Images, expected: Vectors, folder: Path
) -> tuple[BackendFacts, Files, Backend | None]:
    version = openvino.version()
    if version is None:
        return BackendFacts(used=False, reason="OpenVINO is not installed where the encoder was trained"), {}, None
    try:
        openvino.convert(network, folder)
        precisions = ["fp32", "bf16"] if openvino.multiplies_bf16() else ["fp32"]
        backends = {precision: openvino.OpenVino(folder, precision) for precision in precisions}
        cosines = {name: least_cosine(all_vectors(backend, images), expected) for name, backend in backends.items()}
    except Exception as error:  # another library's, on networks that nobody has tried
        reason = f"it cannot take this network: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return BackendFacts(used=False, reason=reason, version=version), {}, None
    return _judged(cosines, version, len(images), folder, backends)


def _judged(
    cosines: Mapping[str, float], version: str, images: int, folder: Path, backends: Mapping[str, Backend]
) -> tuple[BackendFacts, Files, Backend | None]:
    used = cosines["fp32"] >= LEAST_COSINE
    files: Files = {name: folder / name for name in openvino.FILES} if used else {}
    facts = BackendFacts(
        used=used,
        reason=None if used else f"its vectors differ from torch's: a cosine of {cosines['fp32']:.6f}, below {LEAST_COSINE}",
        version=version,
        images=images,
        least_cosine={name: round(value, 7) for name, value in cosines.items()},
        files={name: _sha256(folder / name) for name in files},
    )
    return facts, files, backends["fp32"] if used else None


def _grid(network: ServedNetwork, trained: OnTorch, images: Images) -> GridFacts | None:
    if not network.has_grid:
        return None
    try:
        rows, columns, dim = trained.grids(images[:1]).shape[1:]
    except ValueError:  # NoGrid, and shapes that only look like a grid
        return None
    return GridFacts(rows=rows, columns=columns, dim=dim)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
