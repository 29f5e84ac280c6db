"""One reader with one service for all pages and notebooks, who has read the tutorial."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.doc_pages import ROOT, blocks, difference
from support.reader import Reader

TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.fixture(scope="session")
def beginner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """At the beginning of the tutorial, with the service that it starts."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    (block,) = [each for each in blocks(TUTORIAL) if each.service]
    try:
        reader.start(block.text)
        assert difference(block.shows or "", reader.log()) is None, difference(block.shows or "", reader.log())
        yield reader
    finally:
        status = reader.stop()
    assert status == 0, reader.log()


@pytest.fixture(scope="session")
def reader(beginner: Reader) -> Reader:
    """After the tutorial: there are an encoder, its vectors and their index."""
    wrong = beginner.read(TUTORIAL)
    assert wrong == [], wrong[0]
    return beginner
