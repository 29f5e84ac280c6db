"""Every command and script of the documentation is run, in order, against a real service, and prints what is shown.

About four minutes in all: each training is a few epochs of a few dozen small pictures, and starting a trainer takes seconds.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.doc_pages import ROOT, RUN, SHOWN, Block, blocks, difference
from support.reader import Reader
from support.reference_checkpoints import contents, save

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))])
OWN_SERVICE = ("keys.md", "webhooks.md", "monitoring.md")  # with keys, from which on a service asks everybody, or with settings
IMPORTING, CHECKPOINT = "howto/encoders.md", "epoch=319.ckpt"
EXCUSES = ("installs",)
# In the order of the navigation: searches before there is another encoder. The tutorial is read by the fixture.
READ = [
    "howto/few-labels.md",
    "howto/near-duplicates.md",
    "howto/retrieval.md",
    "howto/bulk-embedding.md",
    "howto/encoders.md",
    "howto/continuing.md",
    "howto/distillation.md",
    "howto/serving-beside-training.md",
    "howto/pages.md",
    "howto/maps.md",
    "howto/datasets.md",
    "howto/tracking.md",
    "reference/python.md",
    "api.md",
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", READ)
def test_what_a_page_says_works(reader: Reader, page: str, tmp_path: Path) -> None:
    """The first pays for the tutorial."""
    brings = [save(contents("resnet18", "cifar", dataset_name="cifar10")[0], tmp_path / CHECKPOINT)] if page == IMPORTING else []
    wrong = reader.read(DOCS / page, brings)
    assert wrong == [], wrong[0]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", OWN_SERVICE)
def test_what_a_page_with_a_service_of_its_own_says_works(tmp_path: Path, name: str) -> None:
    page = DOCS / "howto" / name
    reader = Reader(tmp_path)
    try:
        reader.start(next(each.text for each in blocks(page) if each.service))
        wrong = reader.read(page)
        assert wrong == [], wrong[0]
    finally:
        reader.stop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    read = {DOCS / name for name in [*READ, "tutorial.md", *(f"howto/{each}" for each in OWN_SERVICE)]}
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        assert block.language in (*RUN, *SHOWN), f"{where}: a block is {', '.join((*RUN, *SHOWN))}, not {block.language!r}"
        if block.language == "py":
            assert page.name == "python.md", f"{where}: scripts are python, and are run"
        if block.language not in RUN:
            continue
        if block.service:
            assert re.fullmatch(r"(IMPRINT_\w+=\S+ )*imprint up --data ~/Pictures", block.text), where
        elif block.excuse is None:
            assert page in read, f"{where}: this page is not among those that are read"
        else:
            assert block.excuse in EXCUSES or (ROOT / block.excuse).is_file(), f"{where}: {block.excuse} is no reason"


class TestDifference:
    def test_numbers_ids_and_lines_of_progress_may_differ(self) -> None:
        shown = "job job_01ABC\n 0:01 queued\n…\n 0:20 succeeded  epoch 10/10\n\nstatus   succeeded\nkNN accuracy  98.2 % on it"
        printed = "job job_01XYZ\n  0:00 preparing\n 1:05 succeeded\nstatus  succeeded\nkNN accuracy   100.0 % on it\n"
        assert difference(shown, printed) is None

    @pytest.mark.parametrize(
        ("shown", "printed"),
        [
            ("a 1\nb 2", "a 1"),
            ("a 1", "a 1\nb 2"),
            ("a 1 %", "a one %"),
            ("status succeeded", "status failed"),
            ("…\nb", "a\nc"),
            ("0.98  stag/003.jpg", "0.98  stag/003.png"),
            (" 0:01 succeeded\ndone", " 0:01 succeeded\nError: no"),
        ],
    )
    def test_anything_else_may_not(self, shown: str, printed: str) -> None:
        assert difference(shown, printed) is not None

    def test_dots_stand_for_the_rest(self) -> None:
        assert difference("a\n…\nz …", "a\nb\nc\nz and so on") is None
        assert difference("0.98  stag/003.jpg", "0.7123   potato/011.jpg") is None


def test_a_page_is_taken_apart(tmp_path: Path) -> None:
    """A block, what it prints, an excuse, the service; text after a paragraph is only shown."""
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nls\n```\n\n```text\na\n```\n\n<!-- not run: installs -->\n```sh\nmake\n```\n\nSo:\n\n```text\nb\n```\n"
    )
    assert blocks(page) == [
        Block("sh", "ls", 1, shows="a"),
        Block("sh", "make", 10, excuse="installs"),
        Block("text", "b", 16),
    ]


def test_the_beetles_are_the_same_every_time(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "examples" / "draw_beetles.py")]
    for name in ("a", "b"):
        subprocess.run([*script, str(tmp_path / name), "--each", "2", "--side", "16"], check=True, capture_output=True)
    files = [sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.jpg")) for name in ("a", "b")]
    assert files[0] == files[1] and len(files[0]) == 10
    assert all((tmp_path / "a" / each).read_bytes() == (tmp_path / "b" / each).read_bytes() for each in files[0])
