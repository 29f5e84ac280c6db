"""Archives and checkpoints of strangers, drawn by hypothesis: what is taken is what it seems, else there is a reason."""

from __future__ import annotations

import io
import itertools
import os
import pickle
import shutil
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fuzz.drawn import Cuts, damaged, quietly
from ssl_core.data.archive import BadArchive, Limits, read_archive
from ssl_core.data.unpack import unpack
from ssl_core.importing.checkpoint import Checkpoint, lazies, plain
from ssl_core.importing.pickles import Refused
from support.archives import Entry, pictures, png, written, zipped

ENDS = st.sampled_from([1.0, 1.0, 1.0, 0.99, 0.5, 0.1])
LIMITS = Limits(unpacked=20_000, entries=20)
numbers = itertools.count()


class TestArchives:
    WHOLE = tuple(zipped(pictures(2), method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    PARTS = st.sampled_from(["a", "b.png", "..", ".", "", "C:", "CON", "é", "e\u0301", "A", "\\", " ", "x" * 256, "~", "\u202e"])
    NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join) | st.text(max_size=12)
    FIELDS = ("flags", "method", "sum", "packed", "size", "local_flags", "local_method", "local_packed", "local_size", "offset")
    LIES = st.dictionaries(st.sampled_from(FIELDS), st.sampled_from([0, 1, 8, 0x800, 2**16 - 1]), max_size=1)
    KINDS = st.sampled_from([0o100644 << 16, 0o100644 << 16, 0o120777 << 16, 0o040755 << 16, 0])
    ENTRIES = st.lists(st.tuples(NAMES, st.sampled_from([png(0, 8), png(1, 8), b"text", b""]), LIES, KINDS), max_size=4)

    @quietly
    @given(st.sampled_from(WHOLE), Cuts, ENDS)
    def test_damaged_ones(self, tmp_path_factory: pytest.TempPathFactory, whole: bytes, cuts: Any, end: float) -> None:
        self.taken_in(damaged(whole, cuts, end), tmp_path_factory.getbasetemp())

    @quietly
    @given(ENTRIES)
    def test_any_directory(self, tmp_path_factory: pytest.TempPathFactory, entries: Any) -> None:
        written_by_hand = written(
            Entry(
                name.encode("utf-8", "surrogatepass"), content, **({"flags": 0x800, "local_flags": 0x800} | lies), attributes=kind
            )
            for name, content, lies, kind in entries
        )
        self.taken_in(written_by_hand, tmp_path_factory.getbasetemp())

    @staticmethod
    def taken_in(data: bytes, base: Path) -> None:
        """Refused with a reason; or plain files below the folder, as many and as large as is said, and nothing beside it."""
        around = base / f"archive-{next(numbers)}"
        folder = around / "folder"
        folder.mkdir(parents=True)
        try:
            said = unpack(io.BytesIO(data), read_archive(io.BytesIO(data), LIMITS), folder, LIMITS)
        except BadArchive as error:
            assert str(error)
        else:
            found = [Path(top) / name for top, _, files in os.walk(folder) for name in files]
            assert all(each.is_file() and not each.is_symlink() for each in found)
            assert len(found) == said.kept and sum(each.stat().st_size for each in found) == said.size_bytes <= LIMITS.unpacked
        assert [each.name for each in around.iterdir()] == ["folder"]
        shutil.rmtree(around)


def saved() -> bytes:
    """What torch.save writes of a Lightning checkpoint."""
    weights = {"a.weight": torch.zeros(3, 2), "a.bias": torch.ones(3), "n": torch.tensor(5)}
    file = io.BytesIO()
    torch.save({"state_dict": weights, "hyper_parameters": {"lr": 0.1, "sizes": [1, (2, 3)]}, "epoch": 3}, file)
    return file.getvalue()


def program_of(file: bytes) -> bytes:
    """The pickle in it."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def packed(program: bytes) -> bytes:
    """A file as torch.save's, with this pickle in it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    return file.getvalue()


class TestCheckpoints:
    WHOLE = saved()
    PROGRAM = program_of(WHOLE)
    STEPS = st.sampled_from(
        [
            *(bytes([code]) for code in pickle._Unpickler.dispatch),  # type: ignore[attr-defined]
            *(b"cimprint_canary\nsing\n", b"ccollections\nOrderedDict\n", b"ctorch\nSize\n", b"ctorch\nFloatStorage\n"),
            *(
                b"ctorch._utils\n_rebuild_tensor_v2\n",
                b"cargparse\nNamespace\n",
                b"cbuiltins\neval\n",
                b"(S'imprint_canary'\nS'sing'\n",
            ),
            *(b"(", b"(", b"t", b"R", b"q\0", b"h\0", b"K\1", b"]", b"}", b"0", b"2", b"a", b"s", b"u", b"e", b"X\1\0\0\0a"),
        ]
    )

    @quietly
    @given(Cuts, ENDS)
    def test_damaged_files(self, tmp_path_factory: pytest.TempPathFactory, cuts: Any, end: float) -> None:
        self.read(damaged(self.WHOLE, cuts, end), tmp_path_factory.getbasetemp())

    @quietly
    @given(Cuts, ENDS)
    def test_damaged_programs(self, tmp_path_factory: pytest.TempPathFactory, cuts: Any, end: float) -> None:
        self.read(packed(damaged(self.PROGRAM, cuts, end)), tmp_path_factory.getbasetemp())

    @quietly
    @given(st.lists(STEPS, max_size=40).map(b"".join), st.sampled_from([b".", b"R.", b"tR.", b"t\x81.", b"o.", b"b."]))
    def test_any_program(self, tmp_path_factory: pytest.TempPathFactory, steps: bytes, end: bytes) -> None:
        self.read(packed(steps + end), tmp_path_factory.getbasetemp())

    @staticmethod
    def read(data: bytes, base: Path) -> None:
        """Tensors and plain values, or Refused; and whatever a program calls, it is not called."""
        file = base / "drawn.ckpt"
        file.write_bytes(data)
        sung: list[object] = []
        canary = types.ModuleType("imprint_canary")
        canary.sing = lambda *given, **more: sung.append(given)  # type: ignore[attr-defined]
        sys.modules["imprint_canary"] = canary
        try:
            checkpoint = Checkpoint(file)
            for tensor in lazies(checkpoint.content).values():
                assert isinstance(checkpoint.tensor(tensor), torch.Tensor)
            plain(checkpoint.content)
            checkpoint.close()
        except Refused as error:
            assert str(error)
        finally:
            del sys.modules["imprint_canary"]
        assert not sung
