"""`imprint encoders` and `imprint embed`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console
from imprint.records import Embedded

if TYPE_CHECKING:
    from rich.console import Console

EMBED_EPILOG = """
[bold]Examples[/bold]

  imprint embed ~/Pictures/cats -o cats.npy         [dim]with the newest encoder[/dim]

  imprint embed ~/Pictures -o vectors.parquet       [dim]any number of pictures, as a job[/dim]

  imprint embed a.jpg b.png -o two.json --encoder enc_01K…

  find . -name '*.jpg' -print0 | imprint embed -0 --json - | jq -c '[.path, .embedding[0]]'

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
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILES|FOLDER", help="Image files, or folders of them; - for names on standard input.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A .npy, .json or .parquet file. Default: vectors.npy, or with --json none.",
            show_default=False,
        ),
    ] = None,
    encoder: EncoderName = "latest",
    normalize: Annotated[bool, typer.Option("--normalize", help="Scale every vector to length 1.")] = False,
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", "-d", min=1, help="So many principal components instead of all numbers.")
    ] = None,
    null: Annotated[bool, typer.Option("--null", "-0", help="Names on standard input end with NUL, as of find -print0.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON line for each picture on standard output; with -o, what was written.")
    ] = False,
    server: Server = None,
) -> None:
    """Turn pictures into vectors. Pictures that cannot be read are listed and left out.

    Into a .parquet file any number of pictures go, in little memory: a worker embeds a folder that the server can read.
    """
    from imprint import images, vectors
    from imprint.errors import ImprintError

    paths = [each for path in paths for each in (_names(null) if str(path) == "-" else [path])]
    if output is None and not as_json:
        output = Path("vectors.npy")
    if output is not None:
        vectors.check_output(output)
    client = connect(server)
    if output is not None and output.suffix == ".parquet":
        from imprint.commands import bulk

        wishes = bulk.Wishes(client.encoder(encoder).id, normalize, dimensions)
        return bulk.to_parquet(client, paths, output, wishes, as_json)
    files = images.find(paths)
    chosen = client.encoder(encoder)  # resolved once, so that `latest` cannot change between two batches
    answers: list[Embedded] = []
    for answer in _followed(client.embed_each(files, chosen.id, normalize=normalize, dimensions=dimensions), len(files)):
        if output is None:
            print(json.dumps(_line(answer)), flush=True)
            answers.append(Embedded(answer.name, None, answer.error))  # without its numbers: there may be millions
        else:
            answers.append(answer)
    bad = [answer for answer in answers if answer.error is not None]
    _list_bad(bad)
    if len(bad) == len(answers):
        raise ImprintError("none of the pictures could be embedded")
    if output is not None:
        good = [answer for answer in answers if answer.vector is not None]
        written = vectors.write(output, good, bad, chosen.id)
        if as_json:
            facts = {"files": [str(each) for each in written], "encoder": chosen.id, "images": len(good), "errors": len(bad)}
            print(json.dumps(facts))
        else:
            _say_what_was_written(console(), written, good, chosen.id)


def _names(null: bool) -> list[Path]:
    """Names of pictures from standard input: bytes, as names are."""
    import os
    import sys

    content = sys.stdin.buffer.read()
    return [Path(os.fsdecode(name)) for name in content.split(b"\0" if null else b"\n") if name]


def _followed(answers: Iterable[Embedded], total: int) -> Iterator[Embedded]:
    """The same, with a bar on stderr where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("embedding", *columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=total)
        for answer in answers:
            yield answer
            bar.advance(task)


def _line(answer: Embedded) -> dict[str, object]:
    found = {"embedding": answer.vector.tolist()} if answer.vector is not None else {"error": answer.error}
    return {"path": answer.name, **found}


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
