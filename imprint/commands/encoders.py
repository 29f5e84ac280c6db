"""`imprint encoders` and `imprint embed`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console

if TYPE_CHECKING:
    from rich.console import Console

    from imprint.records import Embedded

EMBED_EPILOG = """
[bold]Examples[/bold]

  imprint embed ~/Pictures/cats -o cats.npy         [dim]with the newest encoder[/dim]

  imprint embed ~/Pictures -o vectors.parquet       [dim]any number of pictures, as a job[/dim]

  imprint embed a.jpg b.png -o two.json --encoder enc_01K…

In Python: numpy.load("cats.npy") is (images, dim) float32; line i of cats.names.txt is the file of row i.
"""


def list_encoders(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """List trained encoders, newest first."""
    from imprint import tables

    found = list(connect(server).encoders(limit=limit))
    if as_json:
        for encoder in found:
            print(json.dumps(encoder.raw))
    elif found:
        console().print(tables.encoders(found))
    else:
        console().print("no encoders yet; train one with: imprint train digits")


def embed(
    paths: Annotated[list[Path], typer.Argument(metavar="FILES|FOLDER", help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .npy, .json or .parquet file.")] = Path(
        "vectors.npy"
    ),
    encoder: EncoderName = "latest",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", "-d", min=1, help="So many principal components instead of all numbers.")
    ] = None,
    server: Server = None,
) -> None:
    """Turn pictures into vectors. Pictures that cannot be read are listed and left out.

    Into a .parquet file any number of pictures go, in little memory: a worker embeds a folder that the server can read.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from imprint import images, vectors
    from imprint.errors import ImprintError

    vectors.check_output(output)
    client = connect(server)
    if output.suffix == ".parquet":
        from imprint.commands import bulk

        wishes = bulk.Wishes(client.encoder(encoder).id, normalize, dimensions)
        return bulk.to_parquet(client, paths, output, wishes)
    files = images.find(paths)
    chosen = client.encoder(encoder)  # resolved once, so that `latest` cannot change between two batches
    screen = console()
    answers: list[Embedded] = []
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("embedding", *columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=len(files))
        for answer in client.embed_each(files, chosen.id, normalize=normalize, dimensions=dimensions):
            answers.append(answer)
            bar.advance(task)

    good = [answer for answer in answers if answer.vector is not None]
    _list_bad([answer for answer in answers if answer.vector is None])
    if not good:
        raise ImprintError("none of the pictures could be embedded")
    written = vectors.write(output, good, [answer for answer in answers if answer.vector is None], chosen.id)
    _say_what_was_written(screen, written, good, chosen.id)


def _list_bad(bad: list[Embedded], most: int = 10) -> None:
    screen = console(stderr=True)
    for answer in bad[:most]:
        screen.print(f"left out {answer.name}: {answer.error}", markup=False, soft_wrap=True)
    if len(bad) > most:
        screen.print(f"left out {len(bad) - most} more")


def _say_what_was_written(screen: Console, written: list[Path], good: list[Embedded], encoder: str) -> None:
    assert good[0].vector is not None
    shape = f"{len(good)} vector{'s' if len(good) > 1 else ''} of {len(good[0].vector)} numbers"
    screen.print(f"{shape} from {encoder}: {written[0]}", markup=False, soft_wrap=True)
    for names in written[1:]:
        screen.print(f"their files, a line for each row: {names}", markup=False, soft_wrap=True)
