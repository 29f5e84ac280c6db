"""`imprint up`: the whole service on this machine, in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import console

if TYPE_CHECKING:
    from imprint.plan import Plan

EPILOG = """
[bold]Examples[/bold]

  imprint up                              [dim]pictures are read from ./imprint-home/data[/dim]

  imprint up --data ~/Pictures            [dim]then: imprint train ~/Pictures/cats[/dim]

  imprint up --port 8001 --home /srv/imprint

Every option is an environment variable too: IMPRINT_DATA_ROOT, IMPRINT_PORT, IMPRINT_HOST, IMPRINT_HOME. Further ones:
IMPRINT_INSECURE, IMPRINT_API_KEYS, IMPRINT_REDIS_URL (a broker of your own), IMPRINT_DATABASE_URL (PostgreSQL instead of SQLite).
"""


def up(
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", help="The folder of your pictures (the data root).", show_default=False),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 8000.", show_default=False)] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1, this machine only.", show_default=False)
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Database, encoders, logs. Default: ./imprint-home.", show_default=False),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines in without keys: everyone who reaches it may do everything.")
    ] = False,
) -> None:
    """Start the service on this machine: broker, API and one worker. Ctrl-C stops it.

    Stopping is safe at any time: running jobs write a checkpoint and go on at the next start.
    """
    from imprint import plan, stack

    screen = console()

    def say(line: str) -> None:
        screen.print(f"imprint: {line}", markup=False, soft_wrap=True)

    data = data and data.expanduser().absolute()  # so that `--data .` is a choice, too
    settings = plan.read_settings(host=host, port=port, home=home, data_root=data, insecure=insecure or None)
    stack.up(settings, say, welcome)


def welcome(plan: Plan) -> None:
    """Where it is and what to do now."""
    from rich.markup import escape

    screen = console()
    lines = [
        "",
        "[bold green]Imprint is ready.[/bold green]",
        "",
        f"  address    [bold]{escape(plan.address)}[/bold]  [dim](open it in a browser: it has pages for all that follows)[/dim]",
        f"  API docs   {escape(plan.address)}/docs",
        f"  pictures   {escape(str(plan.data_root))}",
        f"  home       {escape(str(plan.home))} (database, encoders, logs)",
        "",
        "In another terminal:",
        "",
        "  imprint train digits --epochs 20    [dim]a bundled dataset, to see it work[/dim]",
        f"  imprint train {escape(example_folder(plan))}",
        "  imprint --help",
        "",
        "[dim]Ctrl-C stops it; running jobs write a checkpoint and go on at the next start.[/dim]",
    ]
    screen.print("\n".join(lines), soft_wrap=True)  # at once: who waits for its first line may read the others


def example_folder(plan: Plan) -> str:
    """A folder that `imprint train` could be given: one that is there, or where one would go."""
    try:
        first = next(
            iter(sorted(each for each in plan.data_root.iterdir() if each.is_dir() and not each.name.startswith("."))), None
        )
    except OSError:
        first = None
    return str(first or plan.data_root / "photos")
