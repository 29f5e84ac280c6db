"""What the pages in docs/ claim of the code, where a program can check it: files, links, settings, events, states."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ByteSize, TypeAdapter

from jobs.settings import Settings
from jobs.status import TRANSITIONS, JobStatus

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md"), *DOCS.glob("howto/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
)
ROOMS = ("api/", "worker/", "jobs/", "ssl_core/", "imprint/", "docker/", "docs/", "tests/", "migrations/", "examples/")
# Said of ssl_core/ without naming it again:
WITHIN = ("data/load.py", "encoders.py", "methods/", "stream.py", "augment/", "loop.py", "export.py")
INVENTED = {"ssl_core/methods/yours.py", "tests/ssl_core/methods/test_yours.py"}


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a text; `\\|` is not a border."""
    after = (DOCS / page).read_text(encoding="utf-8").split(heading, 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", after, re.MULTILINE)
    assert lines is not None
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[0].splitlines()][2:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    words = re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8"))
    named = {word for word in words if word.startswith(ROOMS) and (word.endswith("/") or "." in word.rsplit("/", 1)[-1])}
    named -= INVENTED
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_journey_through_the_trainer_names_files_of_ssl_core() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for name in WITHIN:
        assert f"`{name}`" in text
        assert (ROOT / "ssl_core" / name).exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_broken(page: Path) -> None:
    """Files, and headings within pages, as GitHub names them."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}, target


def test_the_table_of_settings_is_complete_and_its_defaults_are_true() -> None:
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("operations.md", "## Settings")}
    assert set(told) == {f"IMPRINT_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        said = told[f"IMPRINT_{name.upper()}"]
        if field.annotation is ByteSize:
            assert TypeAdapter(ByteSize).validate_python(said) == field.default, name
        elif isinstance(field.default, int | float):
            assert float(said) == field.default, name
        elif isinstance(field.default, str) and field.default:
            assert said == field.default


def test_the_table_of_events_lists_all_that_a_trainer_says() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "ssl_core").rglob("*.py")]
    emitted = {name for source in sources for name in re.findall(r"""\.emit\(\s*"(\w+)\"""", source)}
    told = {cells[0].strip("`") for cells in rows("architecture.md", "**`DIR/events.jsonl`**")}
    assert emitted
    assert emitted <= told
    assert told - emitted <= {"warning"}


def test_the_drawn_states_are_those_of_the_table() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    drawing = (DOCS / "pictures" / "job-states.svg").read_text(encoding="utf-8")
    drawn = set(re.findall(r'data-from="(\w+)" data-to="(\w+)"', drawing))
    allowed = {(now.value, then.value) for now, follows in TRANSITIONS.items() for then in follows}
    assert drawn == allowed
    columns = re.search(r"^\| from ╲ to \|(.*)\|$", text, re.MULTILINE)
    assert columns is not None
    states = [cell.strip() for cell in columns[1].split("|")]
    marked = {
        (now, then)
        for now, *cells in rows("architecture.md", "## A job's states")
        for then, cell in zip(states, cells, strict=True)
        if cell
    }
    assert states == [status.value for status in JobStatus]
    assert marked == allowed


def test_a_decision_is_one_page_with_its_four_parts() -> None:
    decisions = sorted((DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, path.name
        assert text.startswith(f"# {int(path.name[:4])}. ")
        assert re.search(r"^> .+", text, re.MULTILINE), f"{path.name}: a sentence worth quoting"
        for part in ("**Status:**", "## Context", "## Decision", "## Consequences"):
            assert part in text, f"{path.name}: {part}"
