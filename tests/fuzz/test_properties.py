"""Whatever bytes, text or JSON a stranger sends: an answer, or an error of the kind that is promised. Drawn by hypothesis.

A hundred draws each, always the same ones; with IMPRINT_FUZZ_EXAMPLES as many as that says, and others each time.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from api.deps import cursor, known_id
from api.errors import Problem
from api.kinds import planned
from fuzz.drawn import Cuts, damaged, quietly
from imprint.errors import UsageError
from imprint.overrides import apply
from jobs.database import connect, migrate
from jobs.errors import Conflict
from jobs.repository import Repository
from jobs.settings import Settings
from ssl_core.data.errors import BadImage
from ssl_core.data.images import load_square
from ssl_core.presets import PRESETS
from ssl_core.spec import METHOD_NAMES, TrainSpec
from ssl_core.weights import WeightsError, read_state

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3))


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 17, 3), dtype=np.uint8)).save(file, form)
    return file.getvalue()


PICTURES = [picture(form) for form in FORMATS]


class TestPictures:
    @quietly
    @given(st.sampled_from(PICTURES), Cuts, st.sampled_from([1.0, 1.0, 0.99, 0.5, 0.02]))
    def test_damaged_ones(self, whole: bytes, cuts: list[tuple[float, bytes]], end: float) -> None:
        try:
            pixels = load_square(damaged(whole, cuts, end), 16, 18, max_pixels=100_000)
        except BadImage as error:
            assert error.reason
        else:
            assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8

    @quietly
    @given(st.binary(max_size=300))
    def test_any_bytes(self, data: bytes) -> None:
        with pytest.raises(BadImage):
            load_square(data, 16, 18)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("home")
    chosen = Settings(home=home)
    chosen.data_root.mkdir()
    migrate(chosen.database_url)
    database = connect(chosen.database_url)
    yield SimpleNamespace(settings=chosen, repository=Repository(database))
    database.engine.dispose()


SECTIONS = TrainSpec.model_json_schema()["properties"]
FIELDS = sorted({field for model in TrainSpec.model_json_schema()["$defs"].values() for field in model.get("properties", {})})
NAMED = st.sampled_from(
    [*METHOD_NAMES, *PRESETS, "digits", "folder", "resnet18", "auto", "sgd", "adamw", "..", "/etc", "a" * 300]
)
SECTION = st.dictionaries(st.sampled_from([*FIELDS, "name", "source"]), NAMED | JSON, max_size=4)
BODY = st.fixed_dictionaries(
    {},
    optional={
        **{name: SECTION | JSON for name in SECTIONS},
        "kind": st.sampled_from(["pretrain", "embed", "index", "linear_probe", "finetune"]) | JSON,
        "preset": st.sampled_from(sorted(PRESETS)) | JSON,
        "data": st.just({"source": "digits"}) | SECTION,
        "labels": JSON,
        "shared": JSON,
        "name": JSON,
    },
)


class TestBodies:
    @quietly
    @given(BODY)
    def test_of_jobs(self, services: Any, body: dict[str, Any]) -> None:
        """A plan that can be written down, or 422 (409 for an encoder that is not there yet) with something to say."""
        try:
            plan = planned(body, services)
        except Problem as problem:
            assert problem.status == 422 and problem.detail and problem.errors
        except Conflict as error:
            assert str(error)
        else:
            assert TrainSpec.model_validate_json(json.dumps(plan.spec)) if plan.kind == "pretrain" else plan.spec

    @quietly
    @given(st.lists(st.text(max_size=30) | st.from_regex(r"\A[a-z.]{1,9}=.{0,12}\Z"), max_size=4))
    def test_overrides(self, assignments: list[str]) -> None:
        try:
            json.dumps(apply({"data": {"source": "digits"}}, assignments))
        except UsageError as error:
            assert "--set" in str(error)


class TestWeights:
    @quietly
    @given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()), st.integers(0, 2**64 - 1) | st.none())
    def test_headers_of_safetensors(self, tmp_path_factory: pytest.TempPathFactory, header: bytes, length: int | None) -> None:
        """Any header, of its own or of any length, before four numbers: tensors, or WeightsError."""
        file = tmp_path_factory.getbasetemp() / "any.safetensors"
        file.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(16))
        self._read(file)

    @quietly
    @given(Cuts, st.sampled_from([1.0, 1.0, 0.9, 0.3]))
    def test_damaged_safetensors(self, tmp_path_factory: pytest.TempPathFactory, cuts: Any, end: float) -> None:
        file: Path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
        file.write_bytes(damaged(save({"a": torch.zeros(2, 2), "b.c": torch.ones(3)}), cuts, end))
        self._read(file)

    @staticmethod
    def _read(file: Path) -> None:
        try:
            found = read_state(file)
        except WeightsError as error:
            assert file.name in str(error)
        else:
            assert all(isinstance(value, torch.Tensor) for value in found.values())


class TestIds:
    @quietly
    @given(st.text(max_size=60), st.sampled_from(["job", "enc", "ds"]))
    def test_any_text(self, text: str, prefix: str) -> None:
        """No text but an id is taken for one, whatever stands around it."""
        with pytest.raises(Problem) as refused:
            known_id(prefix, text)
        assert refused.value.status == 404
        with pytest.raises(Problem) as refused:
            cursor(prefix, text)
        assert refused.value.status == 422

    @quietly
    @given(st.from_regex(r"(job|enc)_[0-9A-HJKMNP-TV-Z]{26}\n?", fullmatch=True))
    def test_what_looks_like_one(self, services: Any, text: str) -> None:
        if not text.startswith("job_") or text.endswith("\n"):
            with pytest.raises(Problem):
                cursor("job", text)
        else:
            assert services.repository.list(after=cursor("job", text)).data == []
