"""The scripts in benchmarks/ import their shared files as scripts do: from their own folder."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import images


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> Path:
    """48 pictures to train on and 24 held out, of 4 classes, laid out as CIFAR-10's JPEGs are."""
    folder = tmp_path_factory.mktemp("data") / "cifar10"
    images.write_jpegs(folder / "train", 48, 32, seed=0, classes=4)
    images.write_jpegs(folder / "test", 24, 32, seed=1, classes=4)
    return folder
