"""`imprint preview`: pictures beside their views, as a PNG."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from imprint.commands.jobs import Arch, BatchSize, Changes, Epochs, Preset, body_of
from imprint.commands.options import AsJson, Server, connect, console, job_id

EPILOG = """
[bold]Examples[/bold]

  imprint preview ~/Pictures/cats -o cats.png       [dim]what a job would see[/dim]

  imprint preview cats --preset byol --set augment.crop_scale='[0.4, 1]'

  imprint preview job_01K…                          [dim]what a job saw; `latest` is the newest[/dim]
"""


def preview(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PATH_OR_SPEC_OR_JOB", help="A folder, a dataset or a spec.json, as for `imprint train`; or a job's id."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The PNG to write.")] = Path("views.png"),
    images: Annotated[int | None, typer.Option(min=1, max=32, help="How many pictures. Default: 8.", show_default=False)] = None,
    preset: Preset = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    arch: Arch = None,
    changes: Changes = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Show what the network will see: pictures beside their augmented views, in a PNG."""
    from imprint.errors import ImprintError, UsageError

    if output.suffix.lower() != ".png":
        raise UsageError(f"--output {str(output)!r} must end in .png")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {str(output.parent)!r} to write {output.name} into")
    client = connect(server)
    given = {"preset": preset, "epochs": epochs, "batch_size": batch_size, "arch": arch}
    if target == "latest" or target.startswith("job_"):
        if images is not None or changes or any(value is not None for value in given.values()):
            raise UsageError("the sheet of a job is drawn already: with a job's id there is nothing to choose but --output")
        sheet = client.preview(job_id(client, target))
    else:
        sheet = client.preview(images=images or 8, **body_of(client, target, given, changes))
    try:
        output.write_bytes(sheet)
    except OSError as error:
        raise ImprintError(f"cannot write {str(output)!r}: {error.strerror}") from error
    wide, high = (int.from_bytes(sheet[at : at + 4], "big") for at in (16, 20))  # PNG's first chunk, IHDR
    if as_json:
        print(json.dumps({"path": str(output), "width": wide, "height": high, "size_bytes": len(sheet)}))
        return
    console().print(f"{output}: {wide} × {high} px, {len(sheet) / 1000:,.0f} kB", markup=False, soft_wrap=True)
