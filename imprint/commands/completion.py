"""`imprint completion`: what a shell needs to complete commands and options."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

EPILOG = """
[bold]Examples[/bold]

  imprint completion bash > ~/.local/share/bash-completion/completions/imprint

  imprint completion zsh > ~/.zfunc/_imprint        [dim]a folder of $fpath[/dim]

  imprint completion fish > ~/.config/fish/completions/imprint.fish
"""
VARIABLE = "_IMPRINT_COMPLETE"  # by which the shell asks


class Shell(StrEnum):
    """What is known."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def completion(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script that lets a shell complete `imprint`."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="imprint", complete_var=VARIABLE, shell=shell.value))


def prepare() -> None:
    """Let typer answer a shell that asks; does nothing otherwise."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
