"""`imprint export`, `imprint card` and `imprint import`: encoders leave and come in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from imprint.commands.options import AsJson, Server, connect, console

EXPORT_EPILOG = """
[bold]Examples[/bold]

  imprint export enc_01K… --format onnx -o cats     [dim]a folder: model.onnx, README.md, imprint.json[/dim]

  imprint export latest --format hf -o cats.zip

README.md in it has ten lines that load it. The server compares it with the encoder before it gives it out.
"""
IMPORT_EPILOG = """
[bold]Examples[/bold]

  imprint import epoch=319.ckpt                     [dim]a checkpoint of the reference implementation says what it is[/dim]

  imprint import resnet50.safetensors --arch resnet50 --size 224

Nothing in the file is run: only tensors and plain values are read.
"""
Named = Annotated[str, typer.Argument(metavar="ENCODER", help="An encoder's id, a job's id, an alias, or `latest`.")]
Format = Annotated[str, typer.Option("--format", "-f", help="onnx, torchscript, safetensors, timm or hf.")]


def export(
    encoder: Named = "latest",
    form: Format = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A new folder, or a .zip file. Default: ENCODER-FORMAT.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Save an encoder in a form that other programs load, with its preprocessing and its card."""
    client = connect(server)
    screen = console(stderr=True)
    target = output or Path(f"{encoder}-{form}")
    with screen.status("the server writes and compares it") if screen.is_terminal else _nothing():
        written = client.export(encoder, form, target)
    if as_json:
        print(json.dumps({"path": str(written), "format": form}))
    else:
        more = "" if written.suffix == ".zip" else "; README.md in it says how to load it"
        console().print(f"{written}{more}", markup=False, soft_wrap=True)


def card(encoder: Named = "latest", form: Format = "onnx", as_json: AsJson = False, server: Server = None) -> None:
    """Print an encoder's model card, as Markdown."""
    text = connect(server).card(encoder, form)
    print(json.dumps({"encoder": encoder, "card": text}) if as_json else text, end="\n" if as_json else "")


def import_weights(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .ckpt, .pt, .pth or .safetensors file.")],
    arch: Annotated[
        str | None, typer.Option(help="The network, where the file does not say it: resnet50, timm/<name>, …")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the images it sees. Default: the file's, or 224.", show_default=False)
    ] = None,
    short_side: Annotated[int | None, typer.Option(help="To which the short side is resized before.", show_default=False)] = None,
    stem: Annotated[str | None, typer.Option(help="auto, imagenet or cifar.", show_default=False)] = None,
    mean: Annotated[str | None, typer.Option(help="Of the normalisation: three numbers with commas.", show_default=False)] = None,
    std: Annotated[str | None, typer.Option(help="The same.", show_default=False)] = None,
    network: Annotated[str | None, typer.Option(help="model or lagging_model, of the reference.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.", show_default=False)] = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Make an encoder of the service from a file of weights. Waits for the end."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from imprint import progress
    from imprint.errors import JobFailed, UsageError

    if not file.is_file():
        raise UsageError(f"there is no file {str(file)!r}")
    given: dict[str, Any] = {"arch": arch, "size": size, "short_side": short_side, "stem": stem, "mean": mean, "std": std}
    given |= {"network": network, "name": name}
    client, screen = connect(server), console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress("sending", *columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=file.stat().st_size)
        job = client.import_encoder(file, on_progress=lambda done: bar.update(task, completed=done), **given)
    if as_json:
        job = client.wait(job.id, check=False)
        print(json.dumps(job.raw))
        if job.status != "succeeded":
            raise JobFailed(job)
        return
    job = progress.succeed(client, job, console())
    for note in job.raw.get("notes") or []:
        console().print(f"  {note}", markup=False, soft_wrap=True)
    console().print(f"encoder {job.encoder}", markup=False)


class _nothing:
    """A `with` without anything."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
