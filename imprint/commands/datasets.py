"""`imprint datasets`: pictures that are sent to the service, listed and deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.options import AsJson, Server, connect, console

EPILOG = """
[bold]Examples[/bold]

  imprint datasets upload photos.zip                [dim]goes on where it was, if run again after a break[/dim]

  imprint datasets upload ~/Pictures/cats --name cats

  imprint train ds_01K…                             [dim]the id that upload prints[/dim]

  imprint datasets delete ds_01K…
"""
app = typer.Typer(no_args_is_help=True, help="Send pictures to the service, list and delete what was sent.")
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The dataset's id, as in `imprint datasets list`.")]


@app.command(epilog=EPILOG)
def upload(
    path: Annotated[Path, typer.Argument(metavar="ZIP|FOLDER", help="A ZIP archive, or a folder of pictures to be packed.")],
    name: Annotated[str | None, typer.Option("--name", "-n", help="For people. Default: the file's.", show_default=False)] = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Send pictures to the service, which keeps them until they are deleted."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    screen, client = console(), connect(server)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, disable=not screen.is_terminal or as_json) as bar:
        task = bar.add_task("sending", total=None)

        def progress(sent: int, total: int) -> None:
            what = "sending" if sent < total else "unpacking"
            bar.update(task, total=total, completed=sent, description=what)

        made = client.upload_dataset(path, name, on_progress=progress)
    if as_json:
        print(json.dumps(made.raw))
        return
    others = f", {made.left_out:,} other files left out" if made.left_out else ""
    screen.print(
        f"dataset {made.id}: {(made.images or 0) + (made.held_out or 0):,} pictures{others}", markup=False, soft_wrap=True
    )
    screen.print(f"train on it with: imprint train {made.id}", markup=False, soft_wrap=True)


@app.command("list")
def list_datasets(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """List datasets, newest first."""
    from imprint import tables

    found = list(connect(server).datasets(limit=limit))
    if as_json:
        for each in found:
            print(json.dumps(each.raw))
    elif found:
        console().print(tables.datasets(found))
    else:
        console().print("no datasets yet; send one with: imprint datasets upload photos.zip")


@app.command()
def delete(dataset: DatasetId, server: Server = None, as_json: AsJson = False) -> None:
    """Forget a registered folder, or remove what was uploaded; refused while a queued, running or paused job uses it."""
    connect(server).delete_dataset(dataset)
    if as_json:
        print(json.dumps({"id": dataset, "deleted": True}))
    else:
        console().print(f"deleted {dataset}", markup=False)
