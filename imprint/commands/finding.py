"""`imprint search`: grep for pictures. In the index of the encoder, or through a folder that is embedded as it is searched."""

from __future__ import annotations

import heapq
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console

if TYPE_CHECKING:
    from imprint.client import Client
    from imprint.images import Image

EPILOG = """
[bold]Examples[/bold]

  imprint search cat.jpg                     [dim]score and path of the ten nearest in the index, best first[/dim]

  imprint search cat.jpg ~/Pictures          [dim]among the pictures of a folder; needs no index[/dim]

  imprint search cat.jpg -n 100 --from 0.9 -0 | xargs -0 cp -t cats/

  curl -s http://camera/now.jpg | imprint search - -l -n 1

Exit status 1: nothing found.
"""


def search(
    picture: Annotated[str, typer.Argument(metavar="PICTURE", help="An image file, or - for standard input.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Search its pictures, not the index.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("--number", "-n", "-k", min=1, max=1000, help="At most so many.")] = 10,
    least: Annotated[float, typer.Option("--from", min=-1, max=1, help="Only with this score at least.")] = -1.0,
    paths_only: Annotated[bool, typer.Option("--paths-only", "-l", help="Paths without scores.")] = False,
    null: Annotated[bool, typer.Option("--null", "-0", help="Paths only, each with a NUL after it, for xargs -0.")] = False,
    encoder: EncoderName = "latest",
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Find the pictures nearest to one: a line each with its score and path, best first."""
    from imprint.errors import UsageError

    if null and as_json:
        raise UsageError("-0 and --json are two forms of output: give one of them")
    what: Image = sys.stdin.buffer.read() if picture == "-" else Path(picture)
    if isinstance(what, Path) and not what.is_file():
        raise UsageError(f"there is no picture {picture!r}")
    client = connect(server)
    if folder is None:
        found = [(each.score, each.path) for each in client.index(encoder).search(what, count)]
    else:
        found = _through(client, what, folder, count, encoder)
    found = [(score, path) for score, path in found if score >= least]
    _print(found, null=null, paths_only=paths_only, as_json=as_json)
    if not found:
        raise typer.Exit(1)


def _through(client: Client, what: Image, folder: Path, count: int, encoder: str) -> list[tuple[float, str]]:
    """(cosine, path) of the nearest of a folder, best first; what cannot be read is told on stderr."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from imprint import images

    files = images.find([folder])
    chosen = client.encoder(encoder).id
    (wanted,) = client.embed([what], chosen, normalize=True)
    screen = console(stderr=True)
    found: list[tuple[float, str]] = []
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("looking", *columns, console=screen, disable=not screen.is_terminal, transient=True) as bar:
        task = bar.add_task("", total=len(files))
        for answer in client.embed_each(files, chosen, normalize=True):
            if answer.vector is None:
                screen.print(f"left out {answer.name}: {answer.error}", markup=False, soft_wrap=True)
            else:
                found.append((float(answer.vector @ wanted), answer.name))
            bar.advance(task)
    return heapq.nlargest(count, found)


def _print(found: list[tuple[float, str]], *, null: bool, paths_only: bool, as_json: bool) -> None:
    """Paths as the bytes that they are, whatever the terminal's encoding. Colour on terminals only."""
    out = sys.stdout
    colour = out.isatty() and not os.environ.get("NO_COLOR")
    for score, path in found:
        if as_json:
            line = json.dumps({"path": path, "score": round(score, 6)})
        elif null or paths_only:
            line = path
        else:
            line = f"\x1b[36m{score:.4f}\x1b[0m  {path}" if colour else f"{score:.4f}  {path}"
        _write(line + ("\0" if null else "\n"))
    out.flush()


def _write(text: str) -> None:
    """As bytes where standard output has them: a name need not be text."""
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(text)
    else:
        buffer.write(text.encode("utf-8", "surrogateescape"))
