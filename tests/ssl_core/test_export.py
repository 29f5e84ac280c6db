import hashlib
import json
import math
import os
import re
import resource

import pytest
import safetensors.torch
import torch
import torchvision
import torchvision.models

from ssl_core import export
from ssl_core.encoders import build_encoder
from ssl_core.export import ExportError, export_encoder
from ssl_core.spec import DigitsData, EncoderConfig, FolderData, TrainSpec

FACTS = {"images": 1437, "fingerprint": "sha256:abc"}
METRICS = {"knn_top1": 91.25, "train_loss": math.nan}
DATA = DigitsData(size=32, mean=(0.3, 0.3, 0.3), std=(0.4, 0.4, 0.4))
SPEC = TrainSpec(data=DATA, encoder=EncoderConfig(arch="resnet18"))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder("resnet18", 32)


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


class TestManifest:
    def test_says_everything(self, encoder, tmp_path):
        folder = export_encoder(encoder, SPEC, FACTS, METRICS, tmp_path)
        assert folder == tmp_path / "encoder"
        assert sorted(each.name for each in folder.iterdir()) == ["manifest.json", "model.safetensors"]
        manifest = manifest_of(folder)
        content = (folder / "model.safetensors").read_bytes()
        versions, created_at = manifest.pop("versions"), manifest.pop("created_at")
        assert manifest == {
            "format_version": 1,
            "arch": "resnet18",
            "stem": "cifar",
            "dim": 512,
            "size": 32,
            "method": "simclr",
            "preprocessing": {
                "size": 32,
                "resize": {
                    "mode": "short_side_then_center_crop",
                    "interpolation": "bilinear",
                    "antialias": True,
                    "short_side": 32,
                },
                "channels": 3,
                "mean": [0.3, 0.3, 0.3],
                "std": [0.4, 0.4, 0.4],
            },
            "data": {"source": "digits", "images": 1437, "fingerprint": "sha256:abc"},
            "metrics": {"knn_top1": 91.25, "train_loss": None},
            "spec": SPEC.model_dump(mode="json"),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "backends": {},
            "grid": None,
            "projection": None,
            "imported": None,
        }
        assert {"python", "torch", "torchvision", "lightning", "imprint"} <= set(versions)
        assert versions["torch"] == torch.__version__ and versions["torchvision"] == torchvision.__version__
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", created_at)
        assert TrainSpec.model_validate(manifest["spec"]) == SPEC

    def test_short_side_is_where_the_run_kept_its_images(self, encoder, tmp_path):
        """A folder at 96 px is kept at 110 (8/7); what the facts say wins."""
        spec = SPEC.changed(data=FolderData(path="p", size=96, mean=(0.5,), std=(0.2,)).model_dump())
        large = build_encoder("squeezenet1_1", 96)
        preprocessing = manifest_of(export_encoder(large, spec, FACTS, {}, tmp_path))["preprocessing"]
        assert preprocessing["resize"]["short_side"] == 110
        assert preprocessing["mean"] == [0.5, 0.5, 0.5] and preprocessing["std"] == [0.2, 0.2, 0.2]
        facts = {**FACTS, "short_side": 40, "source": "mine", "mean": (0.1, 0.2, 0.3)}
        manifest = manifest_of(export_encoder(encoder, SPEC, facts, {}, tmp_path))
        assert manifest["preprocessing"]["resize"]["short_side"] == 40
        assert manifest["data"]["source"] == "mine" and manifest["preprocessing"]["mean"] == [0.1, 0.2, 0.3]

    def test_unknown_statistics_are_an_error(self, encoder, tmp_path):
        with pytest.raises(ValueError, match="mean and std"):
            export_encoder(encoder, SPEC.changed(data={"source": "digits"}), FACTS, {}, tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestWeights:
    def test_load_into_torchvisions_own_network(self, tmp_path):
        encoder = build_encoder("resnet18", 96)
        folder = export_encoder(encoder, SPEC, FACTS, {}, tmp_path)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        result = torchvision.models.resnet18().load_state_dict(state, strict=False)
        assert result.unexpected_keys == [] and result.missing_keys == ["fc.weight", "fc.bias"]
        assert "bn1.running_mean" in state and state["bn1.num_batches_tracked"].dtype == torch.int64

    def test_are_contiguous_float32_whatever_they_were(self, encoder, tmp_path):
        torch.manual_seed(0)
        other = build_encoder("resnet18", 32).to(memory_format=torch.channels_last).double()
        folder = export_encoder(other, SPEC, FACTS, {}, tmp_path)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        assert {value.dtype for value in state.values()} == {torch.float32, torch.int64}
        for name, value in encoder.backbone.state_dict().items():
            assert torch.equal(state[name], value), name

    def test_shared_ones_are_repeated(self, tmp_path):
        encoder = build_encoder("squeezenet1_1", 32)
        encoder.backbone.features[3].expand1x1.weight = encoder.backbone.features[4].expand1x1.weight = torch.nn.Parameter(
            torch.randn(64, 16, 1, 1)
        )
        folder = export_encoder(encoder, SPEC, FACTS, {}, tmp_path)
        state = safetensors.torch.load_file(folder / "model.safetensors")
        assert torch.equal(state["features.3.expand1x1.weight"], state["features.4.expand1x1.weight"])

    def test_same_weights_same_bytes(self, encoder, tmp_path):
        first = export_encoder(encoder, SPEC, FACTS, METRICS, tmp_path / "a")
        second = export_encoder(encoder, SPEC, {**FACTS, "images": 3}, {}, tmp_path / "b")
        assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()

    def test_broken_ones_are_refused(self, tmp_path):
        encoder = build_encoder("squeezenet1_1", 32)
        with torch.no_grad():
            next(encoder.parameters())[0, 0, 0, 0] = math.inf
        with pytest.raises(ExportError, match=r"features\.0\.weight holds values that are not finite"):
            export_encoder(encoder, SPEC, FACTS, {}, tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_only_encoders(self, tmp_path):
        with pytest.raises(TypeError, match="build_encoder made can be exported, not a Linear"):
            export_encoder(torch.nn.Linear(2, 2), SPEC, FACTS, {}, tmp_path)


class TestAtomic:
    def test_replaces_an_older_one(self, encoder, tmp_path):
        export_encoder(encoder, SPEC, {**FACTS, "images": 1}, {}, tmp_path)
        folder = export_encoder(encoder, SPEC, {**FACTS, "images": 2}, {}, tmp_path)
        assert manifest_of(folder)["data"]["images"] == 2
        assert [each.name for each in tmp_path.iterdir()] == ["encoder"]

    @pytest.mark.parametrize("before", [False, True])
    def test_a_disk_that_is_full_leaves_what_was_there(self, encoder, tmp_path, before):
        """Really: files may not grow beyond a megabyte here, and the weights need 45."""
        if before:
            export_encoder(encoder, SPEC, {**FACTS, "images": 1}, {}, tmp_path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                export_encoder(encoder, SPEC, {**FACTS, "images": 2}, {}, tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [each.name for each in tmp_path.iterdir()] == (["encoder"] if before else [])
        assert not before or manifest_of(tmp_path / "encoder")["data"]["images"] == 1

    def test_a_failed_swap_puts_the_older_one_back(self, encoder, tmp_path, monkeypatch):
        export_encoder(encoder, SPEC, {**FACTS, "images": 1}, {}, tmp_path)
        rename, targets = export.Path.rename, []

        def second_fails(path, target):
            targets.append(target.name)
            if len(targets) == 2:
                raise OSError("the swap failed")
            return rename(path, target)

        monkeypatch.setattr(export.Path, "rename", second_fails)
        with pytest.raises(OSError, match="the swap failed"):
            export_encoder(encoder, SPEC, {**FACTS, "images": 2}, {}, tmp_path)
        assert [targets[1], targets[2]] == ["encoder", "encoder"]
        assert [each.name for each in tmp_path.iterdir()] == ["encoder"]
        assert manifest_of(tmp_path / "encoder")["data"]["images"] == 1

    def test_files_and_folders_reach_the_disk_before_the_name(self, encoder, tmp_path, monkeypatch):
        """Order of calls: both files and their folder are synced, then the rename, then the folder above."""
        calls = []
        fsync, rename = os.fsync, export.Path.rename

        def seen_fsync(descriptor):
            calls.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
            fsync(descriptor)

        def seen_rename(path, target):
            calls.append(f"rename to {target.name}")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", seen_fsync)
        monkeypatch.setattr(export.Path, "rename", seen_rename)
        export_encoder(encoder, SPEC, FACTS, {}, tmp_path)
        assert calls[:2] == ["model.safetensors", "manifest.json"]
        assert calls[2].startswith(".encoder-")
        assert calls[3:] == ["rename to encoder", tmp_path.name]
