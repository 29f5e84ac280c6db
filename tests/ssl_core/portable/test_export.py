"""Encoders in other forms: they agree with the encoder, load without Imprint, and what does not agree is not written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch

from ssl_core.embedder import Embedder
from ssl_core.manifest import EncoderCorrupt, read_manifest
from ssl_core.portable import written
from ssl_core.portable.card import CardFacts
from ssl_core.portable.check import Disagrees, agreement, seeded
from ssl_core.portable.export import export_folder, export_zip
from ssl_core.portable.forms import FORMS, NoSuchForm, program

TIMM = ("timm/vit_tiny_patch16_224", 32, "imagenet")
WS, CIFAR = ("ws_resnet18", 32, "imagenet"), ("resnet18", 32, "cifar")
SQUEEZENET = ("squeezenet1_1", 64, "imagenet")


def vector_of_program(source, folder, form, photograph):
    """What the program on the card prints, run without Imprint on the path; and its vector."""
    lines = program(form, read_manifest(source)) + "import numpy; numpy.save('vector.npy', numpy.asarray(vectors))\n"
    assert lines.count("\n") <= 13
    shutil.copy(photograph / "picture.jpg", folder / "picture.jpg")
    (folder / "program.py").write_text(lines)
    guard = "import sys, warnings; sys.modules['ssl_core'] = None; warnings.simplefilter('ignore'); sys.path.insert(0, '.'); "
    command = [sys.executable, "-I", "-c", guard + "exec(open('program.py').read())"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), np.load(folder / "vector.npy")


class TestForms:
    @pytest.mark.parametrize(
        ("form", "case"),
        [
            ("onnx", WS),
            ("onnx", TIMM),
            ("torchscript", SQUEEZENET),
            ("safetensors", WS),
            ("safetensors", SQUEEZENET),
            ("hf", CIFAR),
        ],
        ids=lambda given: given if isinstance(given, str) else given[0].removeprefix("timm/"),
    )
    def test_agrees(self, encoder_folder, tmp_path, form, case):
        found = export_folder(encoder_folder(*case), form, tmp_path / "out")
        assert found.pictures == "seeded" and found.images == 16 and found.least_cosine >= 0.99999
        about = json.loads((tmp_path / "out" / "imprint.json").read_bytes())
        assert about["preprocessing"]["mean"] == [0.5, 0.4, 0.3] and about["preprocessing"]["resize"]["short_side"] == case[1] + 5
        assert about["check"]["least_cosine"] == found.least_cosine
        assert set(about["files"]) == {each.name for each in (tmp_path / "out").iterdir()} - {"imprint.json"}

    @pytest.mark.parametrize("form", FORMS)
    def test_the_cards_program_gives_the_vector_that_the_service_gives(self, encoder_folder, photograph, tmp_path, form):
        """About 4 s each: a fresh interpreter imports torch."""
        source = encoder_folder(*(TIMM if form == "timm" else CIFAR))
        export_folder(source, form, tmp_path / "out")
        assert f"```python\n{program(form, read_manifest(source))}```" in (tmp_path / "out" / "README.md").read_text()
        printed, vector = vector_of_program(source, tmp_path / "out", form, photograph)
        expected = Embedder.load(source, "cpu", "torch").embed_images([photograph / "picture.jpg"])
        assert printed == str(expected.shape)
        cosine = (vector * expected).sum() / np.linalg.norm(vector) / np.linalg.norm(expected)
        assert cosine > 0.9999, "prepared in another way"

    def test_preprocessing_travels_inside_of_the_file_too(self, encoder_folder, tmp_path):
        export_folder(encoder_folder(), "onnx", tmp_path / "onnx")
        model = onnx.load(tmp_path / "onnx" / "model.onnx")
        inside = json.loads({each.key: each.value for each in model.metadata_props}["imprint.preprocessing"])
        assert inside["std"] == [0.25, 0.2, 0.3]
        export_folder(encoder_folder(), "torchscript", tmp_path / "script")
        with zipfile.ZipFile(tmp_path / "script" / "model.pt") as archive:
            assert json.loads(archive.read("model/extra/preprocessing.json")) == inside

    def test_timm_reads_it_with_checkpoint_path(self, encoder_folder, tmp_path):
        import timm

        export_folder(encoder_folder(*TIMM), "timm", tmp_path / "out")
        weights = tmp_path / "out" / "model.safetensors"
        network = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, checkpoint_path=str(weights)).eval()
        images = seeded(2, 32)
        normal = (
            torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
        ) / torch.tensor([0.25, 0.2, 0.3]).view(1, 3, 1, 1)
        with torch.inference_mode():
            found = network(normal).numpy()
        assert np.allclose(found, Embedder.load(encoder_folder(*TIMM), "cpu", "torch").embed(images), atol=1e-4)

    def test_hf_of_others_has_its_code_and_names_for_transformers(self, encoder_folder, tmp_path):
        export_folder(encoder_folder("ws_resnet18", 32, "imagenet"), "hf", tmp_path / "out")
        config = json.loads((tmp_path / "out" / "config.json").read_bytes())
        assert config["auto_map"]["AutoModel"] == "modeling_imprint.ImprintModel" and config["model_type"] == "imprint"
        names = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
        assert all(name.startswith("backbone.") for name in names)


class TestRefusals:
    @pytest.mark.parametrize(("arch", "stem"), [("resnet18", "auto"), ("timm/resnet18", "cifar")])
    def test_timm_is_for_timms_networks(self, encoder_folder, tmp_path, arch, stem):
        with pytest.raises(NoSuchForm, match=f"'timm': {arch} .*take safetensors, hf, onnx or torchscript"):
            export_folder(encoder_folder(arch, 32, stem), "timm", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_what_disagrees_is_not_written(self, encoder_folder, tmp_path, monkeypatch):
        """A writer that puts something else: one weight that is not the encoder's."""

        def wrong(encoder):
            state = weights(encoder)
            state["conv1.weight"] = state["conv1.weight"] * 1.02
            return state

        weights = written.weights
        monkeypatch.setattr(written, "weights", wrong)
        with pytest.raises(Disagrees, match=r"a cosine of 0\.99.*nothing was written"):
            export_folder(encoder_folder(), "safetensors", tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_with_something_in_it_is_left_alone(self, encoder_folder, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="name a new folder"):
            export_folder(encoder_folder(), "onnx", tmp_path)
        assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_damaged_encoder(self, encoder_folder, tmp_path):
        shutil.copytree(encoder_folder(), tmp_path / "encoder")
        (tmp_path / "encoder" / "model.safetensors").write_bytes(b"x")
        with pytest.raises(EncoderCorrupt):
            export_zip(tmp_path / "encoder", "onnx", tmp_path / "out.zip")
        assert not (tmp_path / "out.zip").exists()


class TestAgreement:
    """By hand: vectors of length 5, one number of one of them moved."""

    EXPECTED = np.array([[3, 4, 0], [0, 0, 5]], np.float32)

    def run(self, moved):
        found = self.EXPECTED.copy()
        found[1, 0] += moved
        parts = iter(np.split(found, [1]))
        return agreement(lambda images: next(parts), self.EXPECTED, np.zeros((2, 1, 1, 3), np.uint8), "seeded")

    def test_what_is_told(self):
        found = self.run(0.004)
        assert (found.largest_difference, found.largest_value) == (0.004, 5.0)
        assert found.least_cosine == pytest.approx(5 / (25 + 0.004**2) ** 0.5, abs=1e-8)

    @pytest.mark.parametrize("moved", [0.006, np.nan, np.inf])  # more than a thousandth of 5; cosine of 0.006: 0.9999993
    def test_refused(self, moved):
        with pytest.raises(Disagrees):
            self.run(moved)


class TestCommand:
    """One run takes 3 s: a fresh interpreter imports torch."""

    def run(self, *words):
        command = [sys.executable, "-m", "ssl_core", "export", *map(str, words)]
        # As people run it, with bytecode, of which nothing may be in an export.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return subprocess.run(command, capture_output=True, text=True, timeout=100, env=env)

    def test_a_zip_with_facts_checked_on_real_pictures(self, encoder_folder, photograph, tmp_path):
        facts = CardFacts(encoder="enc_1", curves={"train_loss": [(0, 4), (10, 2)]}, verdict="healthy")
        (tmp_path / "facts.json").write_text(facts.model_dump_json())
        done = self.run(
            encoder_folder(), "--format", "safetensors", "-o", tmp_path / "out.zip", "--images", photograph,
            "--facts", tmp_path / "facts.json",
        )  # fmt: skip
        assert done.returncode == 0 and "agrees with the encoder on 1 real pictures" in done.stdout, done.stderr
        with zipfile.ZipFile(tmp_path / "out.zip") as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == [
                "README.md", "config.json", "curves.svg", "imprint.json", "model.safetensors", "modeling_imprint.py",
            ]  # fmt: skip
            assert "Health at the end: **healthy**" in archive.read("README.md").decode()

    def test_what_cannot_be_is_a_sentence(self, encoder_folder, tmp_path):
        done = self.run(encoder_folder(), "--format", "timm", "-o", tmp_path / "out")
        assert done.returncode == 1 and done.stderr.startswith("Error: format = 'timm': resnet18 is not one of timm's networks")
        assert self.run(tmp_path, "--format", "tiff", "-o", tmp_path / "out").returncode == 2
