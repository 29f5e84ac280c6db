"""The pages that are written from the code say all that there is, and nothing that does not exist."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from imprint.cli import app
from support.doc_pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def commands() -> dict[str, typer.core.TyperCommand]:
    """By their words, without the first; groups are left out."""
    found: dict[str, typer.core.TyperCommand] = {}

    def walk(group: typer.core.TyperGroup, before: str) -> None:
        for name, command in group.commands.items():
            if isinstance(command, typer.core.TyperGroup):
                walk(command, f"{before}{name} ")
            else:
                found[f"{before}{name}"] = command

    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    walk(root, "")
    return found


def test_every_command_is_on_its_page_with_every_option() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    for words, command in commands().items():
        section = page.split(f"### imprint {words}\n")[1].split("\n### ")[0]
        for parameter in command.params:
            if parameter.name != "help":
                shown = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar or parameter.name.upper()
                assert f"`{shown}`" in section, f"{words}: {shown}"


@pytest.mark.parametrize("words", sorted(commands()))
def test_the_examples_of_a_command_are_understood_by_it(words: str) -> None:
    """Its words and options exist; nothing is run."""
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    section = page.split(f"### imprint {words}\n")[1].split("\n### ")[0]
    every = commands()
    for line in re.findall(r"^imprint (.*)$", section, re.MULTILINE):
        rest = shlex.split(re.split(r"   # | [|<>] ", line)[0])
        rest = rest[2:] if rest[0] == "--profile" else rest
        name = next(name for name in (" ".join(rest[:2]), rest[0]) if name in every)
        with every[name].make_context(name, rest[len(name.split()) :]) as context:
            assert context.params


def test_every_field_of_a_job_has_a_meaning() -> None:
    page = (REFERENCE / "spec.md").read_text(encoding="utf-8")
    rows = [re.split(r"(?<!\\\\)\|", line) for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 200
    assert [row[1].strip() for row in rows if not row[4].strip()] == []


def test_every_method_of_the_client_is_on_its_page() -> None:
    from imprint import Client

    page = (REFERENCE / "python.md").read_text(encoding="utf-8")
    public = [name for name in dir(Client) if not name.startswith("_") and callable(getattr(Client, name))]
    assert len(public) > 25
    assert [name for name in public if f"### Client.{name}\n" not in page] == []
