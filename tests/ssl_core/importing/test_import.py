"""From a file of weights to an encoder that gives what the network gave."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from ssl_core.embedder import Embedder
from ssl_core.events import Events
from ssl_core.importing.checkpoint import Checkpoint
from ssl_core.importing.pickles import Refused
from ssl_core.importing.reference import said
from ssl_core.importing.run import ImportFailed, _of_checkpoint, import_weights
from ssl_core.portable.check import seeded
from ssl_core.spec import ValidationError
from ssl_core.spec.imported import ImportSpec


def imported(file, tmp_path, **fields):
    """(the folder of the encoder, what was said)."""
    heard = []
    events = Events(None, heard.append)
    return import_weights(ImportSpec(filename=file.name, **fields), file, tmp_path, events), heard


def expected(network, images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    normal = torchvision.transforms.Normalize(mean, std)
    with torch.inference_mode():
        return network(normal(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)).numpy()


class TestReference:
    @pytest.mark.parametrize(
        ("arch", "data", "size", "short"), [("resnet18", "stl10", 96, 128), ("ws_resnet18", "imagenet", 224, 256)]
    )
    def test_gives_what_the_network_gave(self, checkpoint, tmp_path, arch, data, size, short):
        file, network = checkpoint(arch, dataset_name=data)
        folder, heard = imported(file, tmp_path)
        embedder = Embedder.load(folder, "cpu", "torch")
        images = seeded(2, size, seed=5)
        assert np.allclose(embedder.embed(images), expected(network, images), atol=1e-4)
        facts = embedder.facts
        assert (facts.arch, facts.stem, facts.method, facts.size) == (arch, "imagenet", "byol", size)
        assert facts.preprocessing.resize.short_side == short and facts.data.source == data
        assert facts.imported is not None and facts.imported.form == "lightning" and facts.imported.epoch == 319
        assert facts.imported.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert facts.imported.hyper_parameters["exclude_matching_parameters_from_lars"] == [".bias", ".bn"]
        assert facts.projection is None and facts.backends["openvino"].used
        assert [event["type"] for event in heard][-1] == "encoder"

    def test_the_moving_average_may_be_taken(self, checkpoint, tmp_path):
        file, network = checkpoint()
        folder, _ = imported(file, tmp_path, network="lagging_model", size=32, short_side=32)
        images = seeded(2, 32)
        assert not np.allclose(Embedder.load(folder, "cpu", "torch").embed(images), expected(network, images), atol=0.1)

    def test_the_stem_for_cifar_is_taken_and_its_padding_told(self, checkpoint, tmp_path):
        """Theirs makes 34×34 maps of 32×32 pictures: the vectors are near, not the same, and the job says so."""
        file, network = checkpoint(stem="cifar", dataset_name="cifar10")
        folder, heard = imported(file, tmp_path)
        embedder = Embedder.load(folder, "cpu", "torch")
        assert (embedder.facts.stem, embedder.size, embedder.facts.preprocessing.resize.short_side) == ("cifar", 32, 32)
        assert any("pads the first convolution for CIFAR by 2" in str(event.get("message")) for event in heard)
        network.conv1.padding = (1, 1)
        images = seeded(2, 32)
        assert np.allclose(embedder.embed(images), expected(network, images), atol=1e-4)

    @pytest.mark.parametrize(
        ("switches", "method"),
        [
            ({"use_vicreg_loss": True, "use_negative_examples_from_queue": True}, "vicreg"),
            ({"use_negative_examples_from_batch": True, "use_negative_examples_from_queue": True}, "simclr"),
            ({"use_negative_examples_from_queue": True}, "moco"),
            ({"use_negative_examples_from_queue": False}, "byol"),
            ({}, "moco"),  # its default
        ],
    )
    def test_the_method_is_what_the_switches_say(self, switches, method):
        assert said({"encoder_arch": "resnet18", **switches}).method == method

    def test_another_dataset_needs_no_more_than_a_size(self, checkpoint, tmp_path):
        file, _ = checkpoint(dataset_name="mine")
        folder, _ = imported(file, tmp_path, size=64)
        assert Embedder.load(folder).facts.preprocessing.resize.short_side == 73  # 8/7 of 64


class TestOthers:
    def test_safetensors_with_an_arch(self, tmp_path):
        torch.manual_seed(0)
        network = torchvision.models.resnet18().eval()
        safetensors.torch.save_file(network.state_dict(), tmp_path / "w.safetensors")
        network.fc = torch.nn.Identity()
        wanted = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        folder, _ = imported(tmp_path / "w.safetensors", tmp_path / "out", arch="resnet18", size=64, stem="imagenet", **wanted)
        images = seeded(2, 64)
        assert np.allclose(Embedder.load(folder, "cpu", "torch").embed(images), expected(network, images, **wanted), atol=1e-4)
        with pytest.raises(ImportFailed, match="does not say which network it is: give arch"):
            imported(tmp_path / "w.safetensors", tmp_path / "b")
        with pytest.raises(ImportFailed, match=r"holds another network|lacks|does not fit"):
            imported(tmp_path / "w.safetensors", tmp_path / "c", arch="resnet34", size=64)

    def test_weights_of_a_resnet_for_another_network_are_told_as_that(self, tmp_path):
        """And not as a stem for CIFAR, which nobody asked for."""
        safetensors.torch.save_file({"conv1.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "w.safetensors")
        with pytest.raises(ImportFailed, match=r"holds another network|lacks|does not fit"):
            imported(tmp_path / "w.safetensors", tmp_path / "out", arch="shufflenet_v2_x0_5", size=32)

    def test_a_state_dict_of_torch(self, tmp_path):
        state = {f"module.backbone.{name}": value for name, value in torchvision.models.resnet18().state_dict().items()}
        torch.save({"model": state}, tmp_path / "w.pth")
        assert imported(tmp_path / "w.pth", tmp_path / "out", arch="resnet18", size=32)[0].is_dir()

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"", "neither a checkpoint"),
            (b"\xff\xd8\xff\xe0 a picture", "neither a checkpoint"),
            (pickle.dumps({"a": 1}), "a bare pickle"),
            (b"PK\x03\x04 cut off", "damaged, or no file"),
            ((10**15).to_bytes(8, "little") + b"{}", "damaged safetensors"),
        ],
    )
    def test_what_is_none_is_told(self, tmp_path, content, why):
        (tmp_path / "w.ckpt").write_bytes(content)
        with pytest.raises(ImportFailed, match=f"w.ckpt: it is .*{why}"):
            imported(tmp_path / "w.ckpt", tmp_path / "out", arch="resnet18")
        assert not (tmp_path / "out").exists()

    def test_weights_that_are_not_finite(self, tmp_path):
        state = torchvision.models.resnet18().state_dict()
        state["conv1.weight"][0, 0, 0, 0] = math.nan
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(ImportFailed, match=r"conv1\.weight holds values that are not finite"):
            imported(tmp_path / "w.pt", tmp_path / "out", arch="resnet18", size=32)

    def test_a_spec_is_checked(self):
        for wrong in ({"arch": "resnet19"}, {"size": 1}, {"std": (0, 1, 1)}, {"network": "projection_model"}, {"x": 1}):
            with pytest.raises(ValidationError):
                ImportSpec.model_validate(wrong)


class TestHostile:
    @pytest.mark.parametrize("where", ["value", "key", "state", "hyper_parameters", "callbacks"])
    def test_the_canary_never_sings(self, saved, canary, tmp_path, where):
        def put(content):
            place = {"state": "state_dict"}.get(where, where)
            if place in content:
                content[place]["bird"] = canary.bird()
            else:
                content.update({canary.bird(): 1} if where == "key" else {"bird": canary.bird()})

        file = saved(put)
        with pytest.raises(ImportFailed, match=r"it wants to load .*, and only tensors and plain values are read"):
            imported(file, tmp_path / "out")
        assert not canary()

    def damaged(self, checkpoint, tmp_path, change):
        """A checkpoint whose data.pkl was changed by `change(bytes) -> bytes`."""
        source, _ = checkpoint()
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "bad.ckpt", "w", zipfile.ZIP_STORED) as new:
            for name in old.namelist():
                new.writestr(name, change(old.read(name)) if name.endswith("data.pkl") else old.read(name))
        return tmp_path / "bad.ckpt"

    @pytest.mark.parametrize(
        "program",
        [
            b"cos\nsystem\n(S'touch sung'\ntR.",
            b"cbuiltins\neval\n(S'1'\ntR.",
            b"\x80\x02ctorch\nload\n(tR.",
            b"(S'touch sung'\nios\nsystem\n.",  # INST, of protocol 0
            b"(cos\nsystem\nS'touch sung'\no.",  # OBJ
            b"\x82\x01.",  # EXT1
            b"ctorch._utils\n_rebuild_tensor_v2\n(tR.",  # too few arguments
            b"ccollections\nOrderedDict\n}S'__init__'\nI1\nsb.",  # BUILD on something that is named
            b"ccollections\nOrderedDict.fromkeys\n(tR.",
        ],
    )
    def test_programs_end_with_a_sentence(self, checkpoint, tmp_path, monkeypatch, program):
        monkeypatch.chdir(tmp_path)
        file = self.damaged(checkpoint, tmp_path, lambda _: program)
        with pytest.raises(Refused):
            _of_checkpoint(ImportSpec(), Checkpoint(file))
        assert not (tmp_path / "sung").exists()

    def test_a_tensor_cannot_reach_beyond_its_memory(self, checkpoint, tmp_path):
        """The first size of 64 in conv1.weight becomes 255."""

        def larger(data: bytes) -> bytes:
            at = next(position for code, arg, position in pickletools.genops(data) if code.name == "BININT1" and arg == 64)
            return data[: at + 1] + bytes([255]) + data[at + 2 :]

        with pytest.raises(Refused, match="reaches beyond its memory"):
            Checkpoint(self.damaged(checkpoint, tmp_path, larger))

    def test_memory_is_not_read_without_end(self, saved, tmp_path):
        """A thousand names for one large tensor: small in the file, long to read."""
        shared = torch.zeros(300_000)
        content = saved(lambda content: content["state_dict"].update({f"model.x{i}": shared for i in range(1000)}))
        with pytest.raises(ImportFailed, match="share their memory so often"):
            imported(content, tmp_path / "out")

    def test_compressed_entries_are_refused(self, checkpoint, tmp_path):
        with zipfile.ZipFile(checkpoint()[0]) as old, zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        with pytest.raises(Refused, match="compressed or encrypted"):
            Checkpoint(tmp_path / "bomb.ckpt")

    def test_cut_off_anywhere(self, checkpoint, tmp_path):
        whole = checkpoint()[0].read_bytes()
        for share in (0.01, 0.3, 0.9, 0.9999):
            (tmp_path / "cut.ckpt").write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(ImportFailed):
                imported(tmp_path / "cut.ckpt", tmp_path / "out")

    def test_random_damage_of_the_pickle_only_ever_refuses(self, checkpoint, tmp_path, monkeypatch):
        """200 files with some bytes changed: an encoder's state, or Refused; never anything else."""
        monkeypatch.chdir(tmp_path)
        source, _ = checkpoint()
        with zipfile.ZipFile(source) as old:
            (name,) = (name for name in old.namelist() if name.endswith("data.pkl"))
            data = old.read(name)
        random, refused = np.random.default_rng(0), 0
        for _ in range(200):
            changed = bytearray(data)
            for at in random.integers(0, len(data), 5):
                changed[at] = random.integers(256)
            with zipfile.ZipFile(tmp_path / "bad.ckpt", "w") as new:
                new.writestr(name, bytes(changed))
            try:
                Checkpoint(tmp_path / "bad.ckpt").close()
            except Refused:
                refused += 1
        assert refused > 50 and sorted(each.name for each in tmp_path.iterdir()) == ["bad.ckpt"]


def test_the_command_line_makes_one_without_a_service(checkpoint, tmp_path):
    """About 5 s: a process that imports torch and writes for OpenVINO."""
    file, _ = checkpoint()
    (tmp_path / "spec.json").write_text(json.dumps({"kind": "import", "size": 32}))
    command = [
        sys.executable,
        "-m",
        "ssl_core",
        str(tmp_path / "spec.json"),
        "--upload",
        str(file),
        "--out",
        str(tmp_path / "out"),
    ]
    assert subprocess.run(command, capture_output=True, timeout=100).returncode == 0
    assert Embedder.load(tmp_path / "out" / "encoder").size == 32
    (tmp_path / "bad").write_bytes(b"no")
    command[5] = str(tmp_path / "bad")
    assert subprocess.run(command, capture_output=True, timeout=100).returncode == 4
    last = json.loads((tmp_path / "out" / "events.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["code"]) == ("error", "bad_weights")
