"""Nothing that others wrote is unpickled: no call in the product could, and a canary never sings, whichever way it comes."""

from __future__ import annotations

import ast
import io
import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ssl_core import checkpoints
from ssl_core.assembly import method_of
from ssl_core.embedder import Embedder
from ssl_core.events import Events
from ssl_core.manifest import EncoderError
from ssl_core.spec import TrainSpec
from ssl_core.train import train
from ssl_core.weights import WeightsError, read_state
from support.archives import pictures, zipped

PACKAGES = ("api", "worker", "jobs", "ssl_core", "imprint", "migrations")
ROOT = Path(__file__).resolve().parents[1]
# What runs code that it reads, by the last two words of the call.
UNPICKLES = frozenset(
    {
        *(f"{module}.{name}" for module in ("pickle", "_pickle", "cPickle", "dill", "cloudpickle") for name in ("load", "loads")),
        *("pickle.Unpickler", "joblib.load", "marshal.loads", "marshal.load", "shelve.open", "jit.load", "hub.load", "yaml.load"),
        *("pd.read_pickle", "package.PackageImporter", "yaml.unsafe_load", "yaml.full_load"),
    }
)


def calls(source: str) -> Iterator[tuple[int, str, dict[str, ast.expr]]]:
    """(line, the last two words, keyword arguments) of every call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield (
                node.lineno,
                _name(node.func),
                {each.arg or "**": each.value for each in node.keywords},
            )


def _name(function: ast.expr) -> str:
    """`torch.load` of `torch.load`, `jit.load` of `torch.jit.load`; what safetensors reads is no pickle."""
    words = ast.unparse(function).split(".")
    return ".".join(words if words[0] == "safetensors" else words[-2:])


def dangers(source: str) -> list[str]:
    """The calls that could unpickle."""
    found = []
    for line, name, given in calls(source):
        flag = {"torch.load": "weights_only", "np.load": "allow_pickle", "numpy.load": "allow_pickle"}.get(name, "")
        value = given[flag].value if isinstance(given.get(flag), ast.Constant) else given.get(flag)
        good = {"torch.load": value is True, "np.load": value in (None, False), "numpy.load": value in (None, False)}
        if name in UNPICKLES or not good.get(name, True) or ("**" in given and name in good):
            found.append(f"{line}: {name}")
    return found


class TestCode:
    def test_no_call_could(self):
        files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
        assert len(files) > 150 and "torch.load" in {name for file in files for _, name, _ in calls(file.read_text())}
        found = {str(file.relative_to(ROOT)): wrong for file in files if (wrong := dangers(file.read_text()))}
        (own,) = found.pop("ssl_core/portable/written.py")  # an export that this process wrote the line before, read back
        assert found == {} and own.endswith(": jit.load")

    def test_nothing_is_imported_by_another_name(self):
        """`from torch import load` would hide a call from the walk above."""
        modules = {"torch", "pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "numpy"}
        for file in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module in modules:
                    assert not {each.name for each in node.names} & {"load", "loads", "Unpickler"}, file

    @pytest.mark.parametrize(
        "line",
        [
            "torch.load(f)",
            "torch.load(f, weights_only=False)",
            "torch.load(f, weights_only=flag)",
            "torch.load(f, **more)",
            "import pickle; pickle.loads(b)",
            "np.load(f, allow_pickle=True)",
            "torch.jit.load(f)",
        ],
    )
    def test_the_walk_sees_them(self, line):
        assert dangers(line)
        assert not dangers("torch.load(f, map_location='cpu', weights_only=True); np.load(f); json.load(f)")


class Canary:
    """Sings (writes a file) when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


@pytest.fixture
def song(tmp_path: Path) -> Iterator[Path]:
    """Where the canary would sing; it has not, at the end."""
    place = tmp_path / "the canary sang"
    yield place
    assert not place.exists()


def nests(song: Path) -> dict[str, bytes]:
    """The canary in every form in which weights come."""
    bare = pickle.dumps(Canary(song), 2)  # with others, torch warns before it refuses
    whole = {"state_dict": {"weight": torch.zeros(1)}, "more": Canary(song)}
    files = {"bare": bare, "protocol 0": pickle.dumps(Canary(song), 0)}
    for name, kind in (("zip", True), ("old", False)):
        file = io.BytesIO()
        torch.save(whole, file, _use_new_zipfile_serialization=kind)
        files[name] = file.getvalue()
    return files


def test_the_canary_can_sing(tmp_path):
    """Else none of the tests here could fail."""
    for number, content in enumerate(nests(tmp_path / "song").values()):
        if number < 2:
            pickle.loads(content)
        else:
            torch.load(io.BytesIO(content), weights_only=False)
        (tmp_path / "song").rmdir()


class TestCanary:
    @pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".bin", ".safetensors"])
    def test_files_of_weights(self, tmp_path, song, ending):
        for name, content in nests(song).items():
            file = tmp_path / f"weights-{name}{ending}"
            file.write_bytes(content)
            with pytest.raises(WeightsError):
                read_state(file, str(tmp_path))

    @pytest.mark.parametrize("field", ["encoder", "teacher"])
    def test_of_a_job(self, tmp_path, song, field):
        """encoder.weights and method.teacher, as a trainer reads them."""
        for name, content in nests(song).items():
            for ending in (".pt", ".ckpt", ".safetensors"):
                file = f"{name}{ending}"
                (tmp_path / file).write_bytes(content)
                encoder = {"weights": file} if field == "encoder" else {}
                method = (
                    {} if field == "encoder" else {"method": {"name": "distill", "teacher": file, "teacher_arch": "resnet18"}}
                )
                data = {"source": "digits", "size": 32, "mean": [0.5], "std": [0.5]}
                trainer = {"max_epochs": 1, "batch_size": 16, "devices": 1, "precision": "fp32"}
                spec = TrainSpec.model_validate({"data": data, "encoder": encoder, "trainer": trainer, **method})
                with pytest.raises(WeightsError):
                    train(spec, tmp_path / "out", data_root=tmp_path, events=Events(None))

    def test_checkpoints(self, tmp_path, song):
        """Put into a job's folder with the checksum that belongs to it, as only somebody with access to the home could."""
        for number, content in enumerate(nests(song).values()):
            path = checkpoints.step_path(tmp_path, number)
            path.write_bytes(content)
            checkpoints._checksum_file(path).write_text(f"{checkpoints.sha256_of(path)}  {path.name}\n")
            assert checkpoints.newest([tmp_path]) is not None
            with pytest.raises(Exception, match=r"(?i)weights.only|unsupported|invalid"):
                checkpoints.AtomicCheckpointIO().load_checkpoint(path)

    def test_an_encoders_folder(self, tmp_path, song):
        """As its weights, with a manifest that says their checksum."""
        from ssl_core.export import export_encoder

        spec = TrainSpec.model_validate({"data": {"source": "digits", "size": 32, "mean": [0.5], "std": [0.5]}})
        facts = {"source": "digits", "images": 1, "fingerprint": "", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        folder = export_encoder(method_of(spec, lambda encoder: None, None).serving_encoder(), spec, facts, {}, tmp_path, None)
        for content in nests(song).values():
            (folder / "model.safetensors").write_bytes(content)
            manifest = json.loads((folder / "manifest.json").read_bytes())
            manifest |= {"sha256": checkpoints.sha256_of(folder / "model.safetensors"), "size_bytes": len(content)}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            with pytest.raises(EncoderError):
                Embedder.load(folder)

    def test_uploads(self, tmp_path, song):
        """Named like weights, like a checkpoint, like a picture: nothing of it is kept."""
        from ssl_core.data.archive import Limits, read_archive
        from ssl_core.data.unpack import unpack

        canaries = {
            f"{name}{ending}": content for name, content in nests(song).items() for ending in (".pt", ".safetensors", ".png")
        }
        data = io.BytesIO(zipped({**pictures(2), **canaries}, zipfile.ZIP_STORED))
        (tmp_path / "out").mkdir()
        said = unpack(data, read_archive(data, Limits()), tmp_path / "out", Limits())
        assert said.kept == 4 and said.left_out == len(canaries)
