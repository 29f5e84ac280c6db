"""The site is whole, and shows itself without asking anybody else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.doc_pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it: strictly. Three seconds."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_in_the_navigation(site: Path) -> None:
    """But for files of code that pages link to."""
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = [path.relative_to(site).as_posix() for path in site.rglob("*.html")]
    assert len(pages) > 40
    code = re.compile(r"(examples/.*\.py|docker-compose\.yml|404)\.html|.*index\.html")
    assert [page for page in pages if not code.fullmatch(page) and f'href="{page}"' not in home] == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """Neither scripts nor styles, fonts, pictures or frames; links are for people to follow."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source|link(?! rel="canonical"))[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)"""
    )
    found = {
        (path.name, url)
        for path in site.rglob("*.html")
        for url in loads.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    styles = {
        (path.name, url)
        for path in site.rglob("*.css")
        for url in re.findall(r"""(?:url\(|@import )["']?((?:https?:)?//[^"')\s]+)""", path.read_text(encoding="utf-8"))
    }
    assert found | styles == set()


def test_what_lies_outside_of_docs_is_a_page_too(site: Path) -> None:
    assert "Near-duplicates" in (site / "examples" / "near_duplicates.ipynb.html").read_text(encoding="utf-8")
    assert "What is defended" in (site / "SECURITY.html").read_text(encoding="utf-8")
    assert 'href="benchmarks/RESULTS.html"' in (site / "index.html").read_text(encoding="utf-8")
