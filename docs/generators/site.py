"""What MkDocs does not do by itself: pages that lie outside of docs/, notebooks, and whole folders in the navigation.

Pages stay where people look for them in the repository, and their links are written for it. In the site SECURITY.md is
SECURITY.md, docs/api.md is api.md, and what is not Markdown gets a page of its own: docker-compose.yml.md.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LICENSE",
    "docker-compose.yml",
    "benchmarks/RESULTS.md",
    "examples/*",
)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCES = {".py": "python", ".yml": "yaml"}


def outside() -> dict[str, str]:
    """Path in the repository: path in the site."""
    found = (path.relative_to(ROOT).as_posix() for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern)) if path.is_file())
    return {name: name if name.endswith(".md") else f"{name}.md" for name in found}


def on_config(config: Any) -> Any:
    """Folders in the navigation become the pages in them."""
    config.nav = _expanded(config.nav)
    return config


def _expanded(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_expanded(each) for each in entry]
    if isinstance(entry, dict):
        return {title: _expanded(below) for title, below in entry.items()}
    if not entry.endswith("/"):
        return entry
    inside = [f"{entry}{path.name}" for path in sorted((ROOT / "docs" / entry).glob("*.md"))]
    return inside or [there for name, there in outside().items() if name.startswith(entry) and name.endswith(".ipynb")]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from outside."""
    for name, there in outside().items():
        files.append(File.generated(config, there, content=_as_page(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links, as they are in the repository, to where the pages are in the site."""
    elsewhere = outside()
    here = next((name for name, there in elsewhere.items() if there == page.file.src_uri), f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), link[1]))
        if (ROOT / target).is_dir():  # a folder: the first page in it
            target = min((path.relative_to(ROOT).as_posix() for path in (ROOT / target).glob("*.md")), default=target)
        there = elsewhere.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(there, posixpath.dirname(page.file.src_uri) or ".") + (link[2] or "")

    return LINK.sub(moved, markdown)


def _as_page(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        return _notebook(json.loads(text), path.name)
    if path.name == "LICENSE":
        return f"# Licence\n\n{text}"
    return f"# {path.name}\n\n```{FENCES.get(path.suffix, 'text')}\n{text.rstrip()}\n```\n"


def _notebook(notebook: dict[str, Any], name: str) -> str:
    """Its cells, without outputs."""
    cells = ("".join(cell["source"]) for cell in notebook["cells"])
    shown = [
        text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"
        for cell, text in zip(notebook["cells"], cells, strict=True)
    ]
    title, *rest = shown
    return "\n\n".join([title, f"*This page is the notebook `examples/{name}`; open it beside a running service.*", *rest])
