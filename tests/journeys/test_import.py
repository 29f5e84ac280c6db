"""A checkpoint of the reference implementation comes in, serves, and leaves again as ONNX."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from imprint.errors import JobFailed
from support.service import Service


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.torch.save_file(torchvision.models.resnet18().state_dict(), path)
    return path


def test_in_and_out_again(service: Service, weights: Path, pictures: Path, tmp_path: Path) -> None:
    """Some 20 s: the trainer's process, the embedder's and the export's import torch, each once."""
    sent: list[int] = []
    job = service.client.import_encoder(weights, arch="resnet18", size=64, stem="imagenet", on_progress=sent.append)
    assert sent[-1] == weights.stat().st_size and job.kind == "import"
    done = service.succeeded(job.id)
    assert done.encoder is not None and any("ImageNet's" in note for note in done.raw["notes"])
    assert list((service.home / "imports").iterdir()) == [], "the file is taken"

    manifest = service.client.encoder(done.encoder).raw["manifest"]
    assert manifest["method"] == "imported" and manifest["imported"]["file"] == "resnet18.safetensors"
    assert "imported from" in service.client.card(done.encoder)
    some = sorted(pictures.rglob("*.png"))[:3] or sorted(pictures.rglob("*.jpg"))[:3]
    vectors = service.client.embed(some, done.encoder)
    assert vectors.shape == (len(some), 512)

    folder = service.client.export(done.encoder, "onnx", tmp_path / "out")
    about = json.loads((folder / "imprint.json").read_bytes())
    import onnxruntime

    from ssl_core.data.images import load_square

    pixels = np.stack([load_square(path, 64, about["preprocessing"]["resize"]["short_side"]) for path in some])
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(["vectors"], {"images": pixels})
    cosines = (found * vectors).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(vectors, axis=1)
    assert cosines.min() > 0.999


def test_what_is_no_encoder_fails_with_a_reason(service: Service, tmp_path: Path) -> None:
    (tmp_path / "photo.ckpt").write_bytes(b"\xff\xd8\xff\xe0 not weights")
    job = service.client.import_encoder(tmp_path / "photo.ckpt")
    with pytest.raises(JobFailed, match=r"photo\.ckpt: it is neither a checkpoint of torch.save nor a safetensors file"):
        service.client.wait(job.id, every=0.1)
    assert service.client.job(job.id).attempt == 1, "it would fail again in the same way"
