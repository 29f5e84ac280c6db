"""Exported networks in OpenVINO and in torch: the same vectors, and what happens where they are not."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ssl_core.embedder import Embedder, EncoderCorrupt, EncoderError, NoGrid
from ssl_core.inference import openvino, prepare
from ssl_core.inference.check import LEAST_COSINE, least_cosine
from ssl_core.inference.network import ServedNetwork


@pytest.fixture
def folder(exported, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(exported, tmp_path / "encoder")


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


class TestTheSameVectors:
    @pytest.mark.parametrize(
        ("arch", "size", "grid"),
        [
            ("ws_resnet18", 32, [4, 4, 512]),
            ("swin_t", 64, [2, 2, 768]),
            ("vit_b_32", 64, [2, 2, 768]),
            ("efficientnet_b0", 64, [2, 2, 1280]),
            ("densenet121", 64, [2, 2, 1024]),
            ("regnet_y_400mf", 64, [2, 2, 440]),
            ("timm/vit_tiny_patch16_224", 64, [4, 4, 192]),
            ("timm/resnet10t", 64, [2, 2, 512]),
            ("timm/swin_tiny_patch4_window7_224", 224, [7, 7, 768]),
        ],
    )
    def test_of_many_networks(self, arch, size, grid, trained, export, images, tmp_path):
        folder = export(trained(arch, size), tmp_path, images(4, size))
        facts = manifest_of(folder)
        made = facts["backends"]["openvino"]
        assert made["used"] and made["reason"] is None and made["images"] == 4 and made["version"] == openvino.version()
        assert made["least_cosine"]["fp32"] >= 0.9999
        assert list(facts["grid"].values()) == grid
        fast, slow = Embedder.load(folder, "cpu"), Embedder.load(folder, "cpu", backend="torch")
        assert (fast.backend.name, slow.backend.name) == ("openvino", "torch")
        some = images(5, size, seed=1)
        assert least_cosine(fast.embed(some), slow.embed(some)) >= LEAST_COSINE
        assert least_cosine(*(each.grids(some).reshape(5, -1) for each in (fast, slow))) >= LEAST_COSINE

    def test_in_any_number(self, exported, images):
        embedder = Embedder.load(exported, "cpu")
        some = images(70)
        together = embedder.embed(some)
        assert together.shape == (70, 512) and together.dtype == np.float32
        for count in (1, 2, 3, 7):
            np.testing.assert_allclose(embedder.embed(some[:count]), together[:count], rtol=1e-3, atol=1e-4)
        assert embedder.embed(some[:0]).shape == (0, 512)
        assert embedder.grids(some[:0]).shape == (0, *together.shape[:0], 4, 4, 512)

    def test_vectors_are_the_callers(self, exported, images):
        embedder = Embedder.load(exported, "cpu")
        first = embedder.embed(images(2))
        copy = first.copy()
        embedder.embed(images(2, seed=1))
        assert np.array_equal(first, copy)
        first += 1


class TestGrid:
    def test_the_mean_of_a_feature_map_is_the_vector(self, exported, images):
        """A ResNet pools by the mean."""
        for backend in ("torch", "openvino"):
            embedder = Embedder.load(exported, "cpu", backend)
            means, vectors = embedder.grids(images(3)).mean((1, 2)), embedder.embed(images(3))
            assert least_cosine(means, vectors) >= LEAST_COSINE
            if embedder.backend.precision == "fp32":
                np.testing.assert_allclose(means, vectors, rtol=1e-3, atol=1e-4)

    def test_places_are_where_they_were(self, exported, images):
        """What changes below on the right changes the grid most there."""
        embedder = Embedder.load(exported, "cpu")
        before = images(1)
        after = before.copy()
        after[:, 28:, 28:] = 255 - after[:, 28:, 28:]
        change = np.abs(embedder.grids(after) - embedder.grids(before)).sum(-1)[0]
        assert np.unravel_index(change.argmax(), change.shape) == (3, 3)

    def test_none_without_images(self, trained, export, images, tmp_path):
        folder = export(trained("resnet18"), tmp_path)
        assert manifest_of(folder)["grid"] is None
        with pytest.raises(NoGrid, match="resnet18 was exported without local features"):
            Embedder.load(folder, "cpu").grids(images(1))


class TestChecked:
    def test_other_vectors_are_not_served(self, trained, export, images, tmp_path, monkeypatch):
        """A conversion that gives another network is noticed, and torch serves."""
        other = ServedNetwork(trained("resnet18", seed=1), (0.5,), (0.2,))
        convert = openvino.convert
        monkeypatch.setattr(prepare.openvino, "convert", lambda network, folder: convert(other, folder))
        folder = export(trained("resnet18"), tmp_path, images(8))
        made = manifest_of(folder)["backends"]["openvino"]
        assert not made["used"] and "differ from torch's" in made["reason"] and made["least_cosine"]["fp32"] < LEAST_COSINE
        assert sorted(each.name for each in folder.iterdir()) == ["manifest.json", "model.safetensors", "projection.safetensors"]
        assert Embedder.load(folder, "cpu").backend.name == "torch"
        with pytest.raises(EncoderError, match="differ from torch's"):
            Embedder.load(folder, "cpu", "openvino")

    def test_a_network_that_cannot_be_converted(self, trained, export, images, tmp_path, monkeypatch):
        def fail(network, folder):
            raise RuntimeError("Unsupported operation: aten::new\nmore")

        monkeypatch.setattr(prepare.openvino, "convert", fail)
        folder = export(trained("resnet18"), tmp_path, images(8))
        made = manifest_of(folder)["backends"]["openvino"]
        assert made["reason"] == "it cannot take this network: RuntimeError: Unsupported operation: aten::new more"
        assert Embedder.load(folder, "cpu").embed(images(2)).shape == (2, 512)

    @pytest.mark.parametrize("name", openvino.FILES)
    def test_a_flipped_bit(self, folder, name):
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(EncoderCorrupt, match=rf"{name} was changed"):
            Embedder.load(folder, "cpu")

    @pytest.mark.parametrize("name", openvino.FILES)
    def test_without_its_files_torch_serves(self, folder, name, images):
        """As in a download, which holds the weights once."""
        (folder / name).unlink()
        embedder = Embedder.load(folder, "cpu")
        assert embedder.backend.name == "torch" and embedder.embed(images(1)).shape == (1, 512)

    def test_bf16_only_where_it_passed(self, folder, monkeypatch):
        asked = []
        monkeypatch.setattr("ssl_core.embedder.openvino.multiplies_bf16", lambda: True)
        monkeypatch.setattr(
            "ssl_core.embedder.openvino.OpenVino", lambda place, precision, threads, streams: asked.append(precision)
        )
        for cosine, expected in ((0.9996, "bf16"), (0.999, "fp32"), (None, "fp32")):
            manifest = manifest_of(folder)
            manifest["backends"]["openvino"]["least_cosine"] = {"fp32": 1.0} | ({"bf16": cosine} if cosine else {})
            (folder / "manifest.json").write_text(json.dumps(manifest))
            Embedder.load(folder, "cpu")
            assert asked.pop() == expected


class TestCosine:
    def test_by_hand(self):
        a = np.array([[1, 0], [0, 0], [3, 4]], np.float32)
        assert least_cosine(a, a) == 1
        assert least_cosine(a, np.array([[1, 0], [0, 0], [4, 3]], np.float32)) == pytest.approx(24 / 25)
        assert least_cosine(a, np.array([[1, 0], [1, 0], [3, 4]], np.float32)) == 0

    def test_what_is_not_finite_never_passes(self):
        a = np.ones((2, 3), np.float32)
        assert least_cosine(np.where([[True], [False]], np.nan, a), a) == -1
        assert least_cosine(a[:1], a) == -1


class TestLight:
    def test_neither_torch_nor_anything_that_reports(self, exported, images, tmp_path):
        """Serving on a CPU imports no torch; and OpenVINO's telemetry stays out, when serving and when converting."""
        np.save(tmp_path / "images.npy", images(1))
        code = (
            "import sys, numpy as np; from ssl_core.embedder import Embedder\n"
            "vectors = Embedder.load(sys.argv[1], 'cpu').embed(np.load(sys.argv[2]))\n"
            "assert vectors.shape == (1, 512) and 'torch' not in sys.modules\n"
            "from openvino.tools.ovc import telemetry_utils\n"
            "assert telemetry_utils.tm.__name__ == 'openvino.tools.ovc.telemetry_stub', telemetry_utils.tm\n"
        )
        subprocess.run([sys.executable, "-c", code, str(exported), str(tmp_path / "images.npy")], check=True, timeout=60)
