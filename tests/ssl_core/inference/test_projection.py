"""Principal components: against scikit-learn's, and what must hold for any."""

import json
import shutil

import numpy as np
import pytest
from sklearn.decomposition import PCA

from ssl_core.embedder import Embedder, EncoderCorrupt
from ssl_core.inference.projection import Projection


@pytest.fixture(scope="module")
def vectors():
    random = np.random.default_rng(0)
    return (random.normal(size=(300, 8)) @ random.normal(size=(8, 40)) + random.normal(size=(300, 40)) * 0.1 + 5).astype(
        np.float32
    )


class TestFit:
    def test_is_scikit_learns(self, vectors):
        found, oracle = Projection.fit(vectors), PCA().fit(vectors.astype(np.float64))
        np.testing.assert_allclose(found.explained, oracle.explained_variance_ratio_, atol=1e-6)
        expected = oracle.transform(vectors)[:, :8]
        np.testing.assert_allclose(np.abs(found(vectors, 8)), np.abs(expected), rtol=1e-3, atol=1e-3)

    def test_rows_are_orthonormal_and_shares_fall(self, vectors):
        found = Projection.fit(vectors)
        np.testing.assert_allclose(found.components @ found.components.T, np.eye(40), atol=1e-5)
        assert (np.diff(found.explained) <= 1e-7).all() and found.explained.sum() == pytest.approx(1, abs=1e-5)
        assert found.kept(8) > 0.99 and found.kept(40) == pytest.approx(1, abs=1e-5)

    def test_all_components_keep_distances(self, vectors):
        short = Projection.fit(vectors)(vectors, 40)
        np.testing.assert_allclose(
            np.linalg.norm(short[:10] - short[10:20], axis=1), np.linalg.norm(vectors[:10] - vectors[10:20], axis=1), rtol=1e-4
        )

    def test_few_images_give_few(self, vectors):
        assert Projection.fit(vectors[:5]).most == 4

    def test_equal_images(self, vectors):
        """Without any variance, nothing is divided by zero."""
        found = Projection.fit(np.repeat(vectors[:1], 5, axis=0))
        assert np.isfinite(found(vectors, 2)).all() and found.kept(2) == 0

    def test_the_same_vectors_give_the_same_bytes(self, vectors):
        assert Projection.fit(vectors).dump() == Projection.fit(vectors.copy()).dump()


class TestFile:
    def test_round_trip(self, vectors):
        found = Projection.fit(vectors)
        again = Projection.read(found.dump())
        assert np.array_equal(again(vectors, 3), found(vectors, 3))

    @pytest.mark.parametrize("content", [b"", b"no projection", b"\x08\0\0\0\0\0\0\0{}      "])
    def test_not_one(self, content):
        with pytest.raises(ValueError, match="not a projection"):
            Projection.read(content)

    def test_of_an_encoder(self, exported, images, tmp_path):
        manifest = json.loads((exported / "manifest.json").read_text())["projection"]
        assert manifest["images"] == 100 and manifest["most"] == 99
        assert list(manifest["explained"]) == ["2", "4", "8", "16", "32", "64"]
        embedder = Embedder.load(exported, "cpu", backend="torch")  # float32, in which the components were fitted
        assert embedder.projection.kept(8) == pytest.approx(manifest["explained"]["8"], abs=1e-4)
        short = embedder.projection(embedder.embed(images(100)), 99)
        assert np.abs(short.mean(0)).max() < 1e-3, "the training images lie around the origin"

    def test_a_flipped_bit(self, exported, tmp_path):
        folder = shutil.copytree(exported, tmp_path / "encoder")
        content = bytearray((folder / "projection.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "projection.safetensors").write_bytes(content)
        with pytest.raises(EncoderCorrupt, match="was changed"):
            _ = Embedder.load(folder, "cpu").projection
