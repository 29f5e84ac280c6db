"""A folder of which a CSV file labels a part: what is trained on, and what kNN and linear are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.data.cache import Cache
from ssl_core.data.errors import DataError
from ssl_core.data.load import load_data
from ssl_core.spec import DigitsData, FolderData

COUNT, LABELLED = 120, 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """flat/000.png to flat/119.png, each of its own grey; every third of them is labelled, dark or light."""
    (tmp_path / "flat").mkdir()
    lines = ["path,label"]
    for number in range(COUNT):
        Image.fromarray(np.full((8, 8, 3), 2 * number, np.uint8)).save(tmp_path / "flat" / f"{number:03}.png")
        if number % 3 == 0:
            lines.append(f"{number:03}.png,{'dark' if number < COUNT / 2 else 'light'}")
    (tmp_path / "some.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("cached", [False, True])
def test_only_labelled_pictures_are_measured_and_those_held_out_are_not_trained_on(root: Path, cached: bool) -> None:
    cache = Cache(root / "cache") if cached else None
    data = load_data(FolderData(path="flat", size=8), root, labels="some.csv", cache=cache)
    assert data.bank is not None and data.queries is not None and data.classes == ("dark", "light")
    assert len(data.bank) == len(data.queries) == LABELLED // 2, "of so few, half of each class is held out"
    sides = [side.images[:, 0, 0, 0].tolist() for side in (data.bank, data.queries)]
    for side, greys in zip((data.bank, data.queries), sides, strict=True):
        assert side.labels is not None
        assert [label == (grey >= COUNT) for label, grey in zip(side.labels.tolist(), greys, strict=True)] == [True] * len(greys)
        assert all(grey % 6 == 0 for grey in greys)
    trained = data.train.batch(torch.arange(len(data.train)))[:, 0, 0, 0].tolist()
    assert set(sides[0]) <= set(trained) and not set(sides[1]) & set(trained)
    assert len(data.train) + data.held_out == COUNT


def test_packed_sources_have_labels_of_their_own(root: Path) -> None:
    with pytest.raises(DataError, match="has labels of its own") as error:
        load_data(DigitsData(), root, labels="some.csv")
    assert error.value.pointer == "/evaluate/labels"
