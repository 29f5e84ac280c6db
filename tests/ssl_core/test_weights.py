"""Weights to begin with: whatever prefix names have, nothing but the network's own tensors, and no code from a file."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from ssl_core.data.errors import DataError
from ssl_core.encoders import build_encoder
from ssl_core.export import export_encoder
from ssl_core.spec import DigitsData, TrainSpec
from ssl_core.weights import WeightsError, fill, load_start, published, read_state

ARCH = "shufflenet_v2_x0_5"


def network(seed, arch=ARCH, stem="auto"):
    torch.manual_seed(seed)
    return build_encoder(arch, 32, stem)


def same(encoder, state):
    own = encoder.backbone.state_dict()
    return all(torch.equal(own[name], state[name]) for name in own)


@pytest.fixture
def source():
    """The weights of another network of the arch, batch statistics included."""
    encoder = network(1)
    encoder.train()(torch.randn(4, 3, 32, 32))
    return encoder.backbone.state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "encoder.", "backbone.", "model.", "module.encoder_q.", "net.0.trunk."])
def test_any_prefix_will_do(source, prefix):
    encoder = network(0)
    assert not same(encoder, source)
    fill(encoder.backbone, {prefix + name: value for name, value in source.items()}, "file")
    assert same(encoder, source)


@pytest.mark.parametrize(
    ("online", "average"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("branches.encoder.backbone.", "branches.target_encoder.backbone."),
        ("backbone.", "momentum_backbone."),
    ],
)
def test_of_two_networks_the_trained_one_is_taken(source, online, average):
    """In whichever order they come, with heads beside them."""
    other = network(2).backbone.state_dict()
    both = {average + name: value for name, value in other.items()} | {online + name: value for name, value in source.items()}
    both["branches.projector.0.weight"] = torch.zeros(3, 3)
    for state in (both, dict(reversed(both.items()))):
        encoder = network(0)
        fill(encoder.backbone, state, "file")
        assert same(encoder, source)


def test_a_classifier_may_be_left_over_and_counters_may_be_missing():
    whole = resnet18(num_classes=10).state_dict()
    state = {name: value for name, value in whole.items() if not name.endswith("num_batches_tracked")}
    encoder = network(0, "resnet18", "imagenet")
    fill(encoder.backbone, state, "file")
    assert all(torch.equal(value, whole[name]) for name, value in encoder.backbone.named_parameters())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("conv5.0.weight"), r"file lacks conv5\.0\.weight"),
        (lambda s: s.update({"layer5.weight": torch.zeros(1)}), r"also holds layer5\.weight"),
        (
            lambda s: s.update({"conv1.0.weight": torch.zeros(24, 1, 3, 3)}),
            r"conv1\.0\.weight is \(24, 1, 3, 3\) and not",
        ),
        (lambda s: s["conv1.0.weight"].fill_(float("nan")), r"conv1\.0\.weight holds values that are not finite"),
    ],
    ids=["missing", "unexpected", "shape", "nan"],
)
def test_says_what_does_not_fit_and_changes_nothing(source, change, words):
    encoder = network(0)
    before = {name: value.clone() for name, value in encoder.backbone.state_dict().items()}
    state = {name: value.clone() for name, value in source.items()}
    change(state)
    with pytest.raises(WeightsError, match=words):
        fill(encoder.backbone, state, "file")
    assert same(encoder, before)


def test_another_network_is_named_as_such():
    with pytest.raises(WeightsError, match=r"holds another network: it has a\.b, and this one conv1"):
        fill(network(0).backbone, {"a.b": torch.zeros(1)}, "file")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"student": {}, "teacher": s}])
def test_reads_safetensors_and_checkpoints(source, tmp_path, wrap):
    save_file(source, tmp_path / "a.safetensors")
    torch.save(wrap(source), tmp_path / "b.pth.tar")
    for name in ("a.safetensors", "b.pth.tar"):
        encoder = network(0)
        load_start(encoder, name, tmp_path, None)
        assert same(encoder, source)


class Canary:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_no_file_runs_code(source, tmp_path):
    canary = tmp_path / "fired"
    torch.save({"state_dict": source, "more": Canary(str(canary))}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_state(tmp_path / "evil.pth")
    assert not canary.exists()
    with pytest.raises(FileExistsError):  # the canary can sing
        canary.mkdir()
        torch.load(tmp_path / "evil.pth", weights_only=False)


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth", "numbers.pth"])
def test_what_is_no_file_of_weights_is_an_error_with_its_name(tmp_path, name):
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04")
    torch.save([1, 2], tmp_path / "numbers.pth")
    with pytest.raises(WeightsError, match=name):
        read_state(tmp_path / name)


def test_files_outside_of_the_data_root_are_not_read(source, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    save_file(source, tmp_path / "a.safetensors")
    (root / "link.safetensors").symlink_to(tmp_path / "a.safetensors")
    for name, words in (("link.safetensors", "leads out"), ("b.pth", "no file"), (".", "is a folder")):
        with pytest.raises(DataError, match=words) as error:
            load_start(network(0), name, root, None)
        assert error.value.pointer == "/encoder/weights"


def test_an_encoder_of_ours_gives_its_features_exactly(tmp_path):
    spec = TrainSpec(data=DigitsData(size=32, mean=(0.5,), std=(0.25,)))
    facts = {"source": "digits", "images": 1, "fingerprint": "x"}
    encoder, again, other = network(1).eval(), network(0).eval(), network(0, "resnet18")
    folder: Path = export_encoder(encoder, spec, facts, {}, tmp_path, None)
    images = torch.randn(3, 3, 32, 32)
    expected = encoder(images)
    assert not torch.allclose(again(images), expected)
    name = "enc_" + "0" * 26
    load_start(again, name, tmp_path, folder)
    assert torch.equal(again(images), expected)
    with pytest.raises(WeightsError, match=r"encoder\.arch is 'resnet18', and the encoder in weights has 'shufflenet"):
        load_start(other, name, tmp_path, folder)
    with pytest.raises(WeightsError, match="--encoder FOLDER"):
        load_start(again, name, tmp_path, None)


def test_published_weights_that_cannot_be_had_are_an_error_with_a_way_out():
    with pytest.raises(WeightsError, match=r"published weights of ws_resnet18 cannot be had here: .*; put a file"):
        published("ws_resnet18", 32)
