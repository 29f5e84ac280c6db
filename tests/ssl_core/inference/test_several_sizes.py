"""A vision transformer that was trained with local views is exported and served at its one size, like any other."""

import numpy as np
import torch

from ssl_core.embedder import Embedder
from ssl_core.encoders import build_encoder
from ssl_core.inference import openvino
from ssl_core.manifest import read_manifest

VIT, SIZE = "timm/vit_tiny_patch16_224", 32


def test_is_served_by_every_backend_as_the_network_it_is(export, images, tmp_path):
    """The same vectors and patches as a network that was built for this size alone, with the same weights."""
    torch.manual_seed(0)
    trained, plain = build_encoder(VIT, SIZE, sizes="several"), build_encoder(VIT, SIZE)
    plain.backbone.load_state_dict(trained.backbone.state_dict())
    asked = images(100)
    folders = [export(each, tmp_path / name, asked) for each, name in ((trained, "several"), (plain, "one"))]
    assert (folders[0] / "model.safetensors").read_bytes() == (folders[1] / "model.safetensors").read_bytes()
    if openvino.version() is not None:
        assert read_manifest(folders[0]).backends["openvino"].used
    for backend in ("torch", "auto"):
        several, one = (Embedder.load(folder, device="cpu", backend=backend) for folder in folders)
        assert np.allclose(several.embed(asked[:5]), one.embed(asked[:5]), atol=1e-4)
        assert np.allclose(several.grids(asked[:5]), one.grids(asked[:5]), atol=1e-4)
        assert several.grids(asked[:5]).shape == (5, 2, 2, 192), "of any number of pictures"
