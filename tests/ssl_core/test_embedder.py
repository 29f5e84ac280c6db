import hashlib
import io
import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.augment import normalise
from ssl_core.data.images import decode, to_square
from ssl_core.embedder import BadImage, Embedder, EncoderCorrupt, EncoderError, UnsupportedFormat, random_like
from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.inference.network import ServedNetwork
from ssl_core.spec import EncoderConfig, FolderData, TrainSpec

FACTS = {"images": 10, "fingerprint": "sha256:abc"}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def trained(arch, size):
    """A network whose batch statistics are no longer those of the start, so that they count."""
    torch.manual_seed(0)
    encoder = build_encoder(arch, size)
    for _ in range(3):
        encoder(torch.randn(4, 3, size, size) * 2 + 1)
    return encoder


def exported(encoder, folder, short_side, images=None):
    data = FolderData(path="p", size=encoder.size, mean=MEAN, std=STD)
    spec = TrainSpec(data=data, encoder=EncoderConfig(arch=encoder.arch))
    return export_encoder(encoder, spec, {**FACTS, "short_side": short_side}, {"knn_top1": 50.0}, folder, images)


def prepared(count, size=32, seed=0):
    """Noise as it comes out of `preprocess`: uint8 (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def network_input(pixels):
    """What the network sees of prepared pixels: float32 (3, S, S)."""
    seen = []
    network = ServedNetwork(build_encoder("resnet18", 32), MEAN, STD)
    network.encoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network.vectors(torch.from_numpy(pixels.copy())[None])
    return seen[0][0]


def picture(width=70, height=50, kind="PNG", seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def original():
    return trained("resnet18", 32)


@pytest.fixture(scope="module")
def kept(original, tmp_path_factory):
    return exported(original, tmp_path_factory.mktemp("kept"), short_side=36)


@pytest.fixture
def folder(kept, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(kept, tmp_path / "encoder")


@pytest.fixture(scope="module")
def embedder(kept):
    return Embedder.load(kept)


def edit(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def replace_weights(folder, content):
    """Other bytes that the manifest vouches for."""
    (folder / "model.safetensors").write_bytes(content)
    edit(folder, lambda m: m.update(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content)))


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("arch", "size"),
        [("resnet18", 32), ("ws_resnet18", 32), ("swin_t", 32), ("timm/vit_tiny_patch16_224", 32)],
    )
    def test_what_was_trained_is_what_is_served(self, arch, size, tmp_path):
        """To 1e-6 of the vectors' scale, in the memory layout that training uses (another one sums in another order)."""
        encoder = trained(arch, size).to(memory_format=torch.channels_last)
        loaded = Embedder.load(exported(encoder, tmp_path, size))
        images = prepared(5, size)
        inputs = normalise(torch.from_numpy(images).permute(0, 3, 1, 2), size, MEAN, STD)
        with torch.no_grad():
            expected = encoder.eval()(inputs.contiguous(memory_format=torch.channels_last)).numpy()
        vectors = loaded.embed(images)
        assert vectors.dtype == np.float32 and vectors.shape == (5, encoder.dim) and loaded.dim == encoder.dim
        assert np.abs(vectors - expected).max() <= 1e-6 * max(1, np.abs(expected).max())

    def test_export_leaves_the_encoder_as_it_was(self, tmp_path):
        encoder = trained("squeezenet1_1", 32)
        exported(encoder, tmp_path, 32)
        assert encoder.training and all(parameter.requires_grad for parameter in encoder.parameters())

    def test_manifest_is_the_files(self, kept, embedder):
        assert embedder.manifest == json.loads((kept / "manifest.json").read_text())


class TestPreprocess:
    @pytest.mark.parametrize(("width", "height"), [(70, 50), (50, 70), (36, 36), (8, 9), (200, 37)])
    def test_is_the_evaluation_path_of_training(self, embedder, width, height):
        """Training keeps a square of short_side px and cuts the centre when it evaluates: the same numbers, bit for bit."""
        data = picture(width, height)
        stored = torch.from_numpy(to_square(decode(data), 36, 36).copy()).permute(2, 0, 1)[None]
        pixels = embedder.preprocess(data)
        assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
        assert torch.equal(network_input(pixels), normalise(stored, 32, MEAN, STD)[0])

    def test_by_hand(self, embedder):
        """A plain picture stays plain: (value / 255 - mean) / std per channel."""
        file = io.BytesIO()
        Image.new("RGB", (48, 40), (255, 51, 0)).save(file, "PNG")
        expected = [(1 - 0.5) / 0.2, (0.2 - 0.4) / 0.3, (0 - 0.3) / 0.4]
        for channel, value in zip(network_input(embedder.preprocess(file.getvalue())), expected, strict=True):
            torch.testing.assert_close(channel, torch.full((32, 32), value))

    def test_path_or_content(self, embedder, tmp_path):
        (tmp_path / "a.jpg").write_bytes(picture(kind="JPEG"))
        assert np.array_equal(embedder.preprocess(tmp_path / "a.jpg"), embedder.preprocess(picture(kind="JPEG")))

    @pytest.mark.parametrize("data", [b"", b"no picture", picture()[:300]])
    def test_bad_images(self, embedder, data):
        with pytest.raises(BadImage):
            embedder.preprocess(data)


class TestEmbed:
    def test_images_keep_their_order_over_several_passes(self, embedder):
        pictures = [picture(seed=seed) for seed in range(70)]
        vectors = embedder.embed_images(pictures)
        assert vectors.shape == (70, 512)
        for index in (0, 63, 64, 69):
            np.testing.assert_allclose(vectors[index], embedder.embed_images([pictures[index]])[0], atol=1e-4, rtol=1e-4)
        assert not np.allclose(vectors[0], vectors[1], atol=1e-3)

    def test_none(self, embedder):
        assert embedder.embed_images([]).shape == (0, 512)

    def test_a_bad_image_is_named(self, embedder):
        with pytest.raises(BadImage, match="image 1: "):
            embedder.embed_images([picture(), b"no picture"])

    @pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 33, 3), (1, 32, 32, 1), (1, 3, 32, 32)])
    def test_other_shapes(self, embedder, shape):
        with pytest.raises(ValueError, match=r"this encoder takes uint8 \(N, 32, 32, 3\)"):
            embedder.embed(np.zeros(shape, np.uint8))

    def test_other_types(self, embedder):
        with pytest.raises(ValueError, match="images are float32"):
            embedder.embed(np.zeros((1, 32, 32, 3), np.float32))

    def test_from_several_threads(self, embedder):
        batches = [prepared(3, seed=seed) for seed in range(8)]
        alone = [embedder.embed(batch) for batch in batches]
        with ThreadPoolExecutor(4) as threads:
            together = list(threads.map(embedder.embed, batches * 3))
        for expected, found in zip(alone * 3, together, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)

    def test_vectors_are_the_callers(self, embedder):
        """A result is ordinary memory: it can be written to, and does not change with the next call."""
        first = embedder.embed(prepared(1))
        copy = first.copy()
        embedder.embed(prepared(1, seed=1))
        assert np.array_equal(first, copy)
        first += 1


class TestRandomLike:
    def test_the_seed_decides(self, kept, embedder):
        images = prepared(2)
        torch.manual_seed(5)
        before = torch.get_rng_state()
        first, again, other = (random_like(kept, seed).embed(images) for seed in (0, 0, 1))
        assert torch.equal(torch.get_rng_state(), before)
        assert np.array_equal(first, again)
        assert not np.allclose(first, other) and not np.allclose(first, embedder.embed(images))


class TestRefused:
    @pytest.mark.parametrize("where", [0, 100, 50_000, -1])
    def test_a_flipped_bit(self, folder, where):
        path = folder / "model.safetensors"
        content = bytearray(path.read_bytes())
        content[where] ^= 1
        path.write_bytes(content)
        with pytest.raises(EncoderCorrupt, match="was changed: its SHA-256"):
            Embedder.load(folder)

    def test_cut_off(self, folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(EncoderCorrupt, match=r"has [\d,]+ bytes; the manifest says"):
            Embedder.load(folder)

    @pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
    def test_a_missing_file(self, folder, name):
        (folder / name).unlink()
        with pytest.raises(EncoderCorrupt, match=name):
            Embedder.load(folder)

    def test_no_folder(self, tmp_path):
        with pytest.raises(EncoderCorrupt, match="not the folder of an encoder"):
            Embedder.load(tmp_path / "nothing")

    @pytest.mark.parametrize(
        "path",
        [
            "arch",
            "stem",
            "dim",
            "size",
            "method",
            "sha256",
            "size_bytes",
            "format_version",
            "metrics",
            "preprocessing",
            "preprocessing.mean",
            "preprocessing.resize.short_side",
            "preprocessing.resize.antialias",
            "data.fingerprint",
        ],
    )
    def test_a_missing_field(self, folder, path):
        *parents, last = path.split(".")

        def remove(manifest):
            for parent in parents:
                manifest = manifest[parent]
            del manifest[last]

        edit(folder, remove)
        with pytest.raises(EncoderCorrupt, match=rf"manifest\.json: {path} is missing"):
            Embedder.load(folder)

    @pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
    def test_not_a_manifest(self, folder, content):
        (folder / "manifest.json").write_bytes(content)
        with pytest.raises(EncoderCorrupt, match=r"manifest\.json"):
            Embedder.load(folder)

    @pytest.mark.parametrize(
        ("change", "kind", "message"),
        [
            (lambda m: m.update(format_version=2), UnsupportedFormat, "format_version 2 is not known here"),
            (lambda m: m["preprocessing"]["resize"].update(interpolation="bicubic"), UnsupportedFormat, "bicubic"),
            (lambda m: m["preprocessing"].update(channels=1), UnsupportedFormat, "channels"),
            (lambda m: m.update(arch="resnet19"), UnsupportedFormat, "unknown architecture 'resnet19'"),
            (lambda m: m.update(arch="timm/hf-hub:someone/model"), UnsupportedFormat, "unknown architecture"),
            (lambda m: m.update(arch="resnet34"), EncoderCorrupt, "does not fit resnet34"),
            (lambda m: m.update(stem="imagenet"), EncoderCorrupt, "does not fit resnet18"),
            (lambda m: m.update(dim=100), EncoderCorrupt, "dim = 100, but resnet18 has 512"),
            (lambda m: m["preprocessing"].update(size=64), EncoderCorrupt, "sizes do not fit"),
            (lambda m: m["preprocessing"].update(std=[0.1, 0.0, 0.1]), EncoderCorrupt, "greater than 0"),
            (lambda m: m["preprocessing"].update(mean=[0.1]), EncoderCorrupt, r"preprocessing\.mean"),
        ],
    )
    def test_what_does_not_fit(self, folder, change, kind, message):
        edit(folder, change)
        with pytest.raises(kind, match=message) as raised:
            Embedder.load(folder)
        assert isinstance(raised.value, EncoderError)

    def test_unknown_fields_are_kept(self, folder):
        """A later version may add some."""
        edit(folder, lambda m: m.update(note="x"))
        assert Embedder.load(folder).manifest["note"] == "x"

    def test_a_pickle_is_not_opened(self, folder, tmp_path):
        """A file that runs a command when unpickled, in every form torch.load takes: refused, and nothing ran."""
        proof = tmp_path / "ran"

        class Attack:
            def __reduce__(self):
                return os.mkdir, (str(proof),)

        file = io.BytesIO()
        torch.save({"conv1.weight": Attack()}, file)
        for content in (pickle.dumps(Attack()), file.getvalue(), b""):
            replace_weights(folder, content)
            with pytest.raises(EncoderCorrupt, match="not a safetensors file"):
                Embedder.load(folder)
        assert not proof.exists()
