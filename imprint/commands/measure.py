"""`imprint measure` and `imprint compare`: what encoders are worth on labelled pictures."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from imprint.commands.options import AsJson, EncoderName, Server, connect, console, stack_of

EPILOG = """
[bold]Examples[/bold]

  imprint measure pets                              [dim]class folders below pets: a linear probe of the newest encoder[/dim]

  imprint measure photos --label-file photos/labels.csv

  imprint measure cifar10 --encoder enc_01K… --protocol moco

  imprint measure pets --finetune --label-fraction 0.1 --seed 1
"""

Changes = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field of the job; repeatable.")]


def measure(
    target: Annotated[
        str, typer.Argument(metavar="PATH", help="A folder of labelled pictures below the server's data root, or a dataset.")
    ],
    encoder: EncoderName = "latest",
    finetune: Annotated[bool, typer.Option("--finetune", help="Train the whole network, not a linear layer only.")] = False,
    protocol: Annotated[
        str | None, typer.Option(help="Whose values: lbfgs, moco, simclr; with --finetune simclr, adamw.", show_default=False)
    ] = None,
    label_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A CSV of path,label below the data root, instead of class folders."),
    ] = None,
    label_fraction: Annotated[float | None, typer.Option(help="Share of the labels to learn from, such as 0.01.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    changes: Changes = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Measure what an encoder is worth on labelled pictures that were held out. Waits for the end."""
    from imprint import overrides, progress
    from imprint import target as targets

    client = connect(server)
    stack = stack_of(client)
    body: dict[str, Any] = targets.body(target, stack)
    label_file = label_file and targets.file(label_file, stack)
    given = {"protocol": protocol, "label_file": label_file, "label_fraction": label_fraction, "seed": seed}
    body |= {name: value for name, value in given.items() if value is not None}
    body |= {"kind": "finetune" if finetune else "linear_probe", "encoder": encoder}
    job = client.submit(**overrides.apply(body, changes or []))
    if as_json:
        print(json.dumps(client.wait(job.id).raw))
        return
    job = progress.succeed(client, job, console())
    console().print(progress.summary(job))


def compare(
    encoders: Annotated[list[str], typer.Argument(metavar="ENCODER ENCODER", help="Encoders' ids, jobs' ids or aliases.")],
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Put encoders side by side, by what was measured on the same data in the same way."""
    from imprint import tables
    from imprint.errors import UsageError

    if len(encoders) < 2:
        raise UsageError("name two encoders at least", "for example: imprint compare latest photos-v1")
    body = connect(server).compare(*encoders)
    if as_json:
        print(json.dumps(body))
    elif body["data"]:
        console().print(tables.comparison(body))
    else:
        console().print("nothing was measured of these yet; begin with: imprint measure PATH --encoder ENCODER")
