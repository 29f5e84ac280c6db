"""The page of the `imprint` command: every subcommand with its arguments, options, defaults and examples, as typer has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HEAD = """# The `imprint` command

What a person types. It speaks HTTP to a service, but for `imprint up`, which starts one, and `imprint keys`, which works on
its database. `imprint COMMAND --help` says the same. Exit codes: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted.
"""


def page() -> str:
    """The whole page, in the order of `imprint --help`."""
    import typer.main

    from imprint.cli import app

    root = typer.main.get_command(app)
    parts = [HEAD, "## Before any command\n", _table(_shown(root))]
    panel = None
    for words, command in commands(root):
        if (new := getattr(command, "rich_help_panel", None)) and new != panel:
            panel = new
            parts.append(f"## {panel}\n")
        parts.append(_command(words, command))
    return "\n".join(parts).rstrip() + "\n"


def commands(group: Any, words: tuple[str, ...] = ("imprint",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, command) of every command that can be run, those of groups in their group's place."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        elif not command.hidden:
            yield (*words, name), command


def examples(command: Any) -> list[tuple[str, str]]:
    """(command line, what it is for) of the examples below a command's help."""
    found = []
    for line in (command.epilog or "").splitlines():
        shown = re.fullmatch(r"\s+(imprint .*?)(?:\s{2,}\[dim\](.*)\[/dim\])?\s*", line)
        if shown:
            found.append((shown[1], shown[2] or ""))
    return found


def _command(words: tuple[str, ...], command: Any) -> str:
    shown = _shown(command)
    usage = [*words, *(_word(each) for each in shown if not _optional(each)), "[OPTIONS]" if any(map(_optional, shown)) else ""]
    parts = [
        f"### {' '.join(words)}\n",
        (command.help or "").strip() + "\n",
        f"`{' '.join(filter(None, usage))}`\n",
        _table(shown),
    ]
    if found := examples(command):
        wide = max(len(line) for line, _ in found)
        lines = [f"{line.ljust(wide)}   # {what}" if what else line for line, what in found]
        parts.append("\n".join(["```text", *lines, "```", ""]))
    return "\n".join(parts)


def _shown(command: Any) -> list[Any]:
    return [each for each in command.params if each.name not in ("help",) and not getattr(each, "hidden", False)]


def _optional(parameter: Any) -> bool:
    """Whether it is an option: has dashes."""
    return str(parameter.opts[0]).startswith("-")


def _word(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required else f"[{name}]"


def _table(parameters: list[Any]) -> str:
    """A row each; what `--help` adds on its own (defaults, whether it may be repeated) is in the last cell."""
    if not parameters:
        return ""
    rows = ["| | default | meaning |", "|---|---|---|"]
    for each in parameters:
        if _optional(each):
            value = "" if each.is_flag else f" `{_cell(each.metavar or _kind(each))}`"
            name = ", ".join(f"`{spelling}`" for spelling in [*each.opts, *each.secondary_opts]) + value
        else:
            name = f"`{each.metavar or each.name.upper()}`"
        rows.append(f"| {name} | {_default(each)} | {_cell(each.help or '')} |")
    return "\n".join(rows) + "\n"


def _kind(parameter: Any) -> str:
    kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return {int: "N", float: "NUMBER"}.get(kind, "TEXT")


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or parameter.default is False or callable(parameter.default):
        return ""
    return f"`{parameter.default}`"


def _cell(text: str) -> str:
    """Within a table; < would begin a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
