"""`imprint train, jobs, watch, cancel, pause, resume, logs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from imprint.commands.options import AsJson, JobId, Server, connect, console, job_id, stack_of

if TYPE_CHECKING:
    from imprint.client import Client
    from imprint.records import Job, Validation

TRAIN_EPILOG = """
[bold]Examples[/bold]

  imprint train digits                              [dim]bundled with Imprint[/dim]

  imprint train ~/Pictures/cats                     [dim]a folder of your own[/dim]

  imprint train cats --preset byol --epochs 200     [dim]a recipe, changed[/dim]

  imprint train cats --set method.name=moco --set method.queue_size=4096

  imprint train spec.json --validate-only           [dim]check, start nothing[/dim]

A spec file holds the body of POST /jobs; the smallest is {"data": {"source": "digits"}}.

Ctrl-C while watching leaves the job running.
"""

JOBS_EPILOG = """
[bold]Examples[/bold]

  imprint jobs --status running

  imprint jobs --label team=cats --json | jq -r .id
"""


Target = Annotated[
    str,
    typer.Argument(
        metavar="PATH_OR_SPEC",
        help="A folder of pictures below the server's data root, a dataset (digits, cifar10, stl10, …), or a spec.json.",
    ),
]
Preset = Annotated[str | None, typer.Option(help="A recipe: simclr, moco_v2, byol, vicreg, …")]
Epochs = Annotated[int | None, typer.Option(help="How often each picture is seen.")]


def _batch_size(text: str) -> int | str:
    """A number, or the word auto; anything else is a usage error."""
    return text if text == "auto" else int(text)


BatchSize = Annotated[
    int | None, typer.Option(parser=_batch_size, metavar="N|auto", help="Pictures per step; auto: as many as fit into memory.")
]
Arch = Annotated[str | None, typer.Option(help="resnet18, vit_b_16, ws_resnet50, timm/<name>, …")]
Weights = Annotated[
    str | None, typer.Option(help="What to continue from: an encoder (enc_…, job_…), or a file of weights below the data root.")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field, by its dotted path; repeatable.")
]

_FIELDS = {  # of options
    "epochs": "trainer.max_epochs",
    "batch_size": "trainer.batch_size",
    "arch": "encoder.arch",
    "weights": "encoder.weights",
}


def train(
    target: Target,
    preset: Preset = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    arch: Arch = None,
    weights: Weights = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label of your own; repeatable.")] = None,
    changes: Changes = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Submit and return; do not watch.")] = False,
    validate_only: Annotated[bool, typer.Option("--validate-only", help="Check everything, start nothing.")] = False,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Train an encoder on a folder of pictures, and watch it learn."""
    client = connect(server)
    given = {"preset": preset, "epochs": epochs, "batch_size": batch_size, "arch": arch, "weights": weights, "name": name}
    body = body_of(client, target, given, changes, _labels(label))
    if validate_only:
        _show_validation(client.validate(**body), as_json)
        return
    job = client.submit(**body)
    if detach:
        _show_submitted(job, as_json)
        return
    if not as_json:
        console().print(f"[bold]{job.name or 'job'}[/bold]  {job.id}  ({job.method or 'pretraining'})")
    _follow(client, job.id, as_json)


def body_of(
    client: Client, target: str, given: dict[str, Any], changes: list[str] | None, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    """The body of POST /jobs that a target and the options (None: not given) stand for; `--set` is on top of all."""
    from imprint import overrides
    from imprint import target as targets

    body = targets.body(target, stack_of(client))
    for option, value in given.items():
        if value is not None:
            overrides.put(body, _FIELDS.get(option, option).split("."), value)
    for key, text in (labels or {}).items():
        overrides.put(body, ["labels", key], text)
    return overrides.apply(body, changes or [])


def list_jobs(
    status: Annotated[str | None, typer.Option(help="queued, running, paused, succeeded, failed or cancelled.")] = None,
    method: Annotated[str | None, typer.Option(help="Such as simclr, moco, byol, simsiam.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only with this label; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """List jobs, newest first."""
    from imprint import tables

    found = list(connect(server).jobs(status=status, method=method, labels=_labels(label), limit=limit))
    if as_json:
        for job in found:
            print(json.dumps(job.raw))
    elif found:
        console().print(tables.jobs(found))
    else:
        console().print("no jobs" if status or method or label else "no jobs yet; start one with: imprint train digits")


def show(job: JobId = "latest", as_json: AsJson = False, server: Server = None) -> None:
    """Show a job as it is now: how far it is, or what came out."""
    from imprint import progress

    client = connect(server)
    found = client.job(job_id(client, job))
    if as_json:
        print(json.dumps(found.raw))
        return
    screen = console()
    if not found.final:
        screen.print(progress.picture(found))
    screen.print(progress.summary(found))


def watch(job: JobId = "latest", as_json: AsJson = False, server: Server = None) -> None:
    """Follow a job until it ends. Ctrl-C stops the watching, never the job."""
    client = connect(server)
    _follow(client, job_id(client, job), as_json)


def cancel(job: JobId, as_json: AsJson = False, server: Server = None) -> None:
    """End a job. What it learnt is kept in its last checkpoint: `resume` goes on from there."""
    client = connect(server)
    _show_control(client.cancel(job_id(client, job)), "cancelled", "ending; its last checkpoint is kept", as_json)


def pause(job: JobId, as_json: AsJson = False, server: Server = None) -> None:
    """Halt a job after a checkpoint, until `resume`."""
    client = connect(server)
    _show_control(client.pause(job_id(client, job)), "paused", "pausing, after a checkpoint", as_json)


def resume(job: JobId, as_json: AsJson = False, server: Server = None) -> None:
    """Let a paused, failed or cancelled job go on from its last checkpoint."""
    client = connect(server)
    _show_control(client.resume(job_id(client, job)), "queued", "queued; goes on from its last checkpoint", as_json)


def logs(
    job: JobId = "latest",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=1, help="Only the last so many lines.", show_default=False)
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
) -> None:
    """Print what a job's trainer wrote."""
    client = connect(server)
    text = client.logs(job_id(client, job), tail=tail)
    if as_json:
        for line in text.splitlines():
            print(json.dumps({"line": line}))
        return
    print(text, end="" if text.endswith("\n") else "\n")


def _follow(client: Client, job: str, as_json: bool) -> None:
    """Watch until the end; exit code 1 unless it succeeded (or paused), 130 on Ctrl-C."""
    from imprint import progress

    screen = console()
    try:
        if as_json:
            for last in client.updates(job):
                print(json.dumps(last.raw), flush=True)
                if last.status == "paused":
                    break
        else:
            last = progress.follow(client.updates(job), screen)
    except KeyboardInterrupt:
        console(stderr=True).print(
            f"\nThe job goes on without you. Come back with: imprint watch {job}\nEnd it with: imprint cancel {job}",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    if not as_json:
        screen.print()
        screen.print(progress.summary(last))
        screen.print()
        for line in _what_next(last):
            screen.print(line, soft_wrap=True, markup=False)
    if last.status not in ("succeeded", "paused"):
        raise typer.Exit(1)


def _what_next(job: Job) -> list[str]:
    if job.status == "succeeded" and job.encoder is None:
        return [f"See it again with: imprint job {job.id}"]
    if job.status == "succeeded":
        return [f"Embed pictures with it: imprint embed FOLDER -o vectors.npy --encoder {job.encoder}"]
    if job.status == "paused":
        return [f"Let it go on with: imprint resume {job.id}"]
    return [f"What it wrote: imprint logs {job.id}", f"Try again from its last checkpoint: imprint resume {job.id}"]


def _show_submitted(job: Job, as_json: bool) -> None:
    if as_json:
        print(json.dumps(job.raw))
        return
    screen = console()
    screen.print(f"{job.id} {job.status}", markup=False)
    screen.print(f"Watch it with: imprint watch {job.id}", markup=False, soft_wrap=True)


def _show_control(job: Job, done: str, doing: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(job.raw))
    else:
        console().print(
            f"{job.id} {job.status if job.status == done and done != 'queued' else doing}", markup=False, soft_wrap=True
        )


def _show_validation(validation: Validation, as_json: bool) -> None:
    if as_json:
        print(json.dumps(validation.raw))
        return
    screen = console()
    screen.print("[bold green]valid[/bold green]: this job can be submitted")
    if validation.data.get("images"):
        screen.print(f"  {validation.data['images']} images to train on, {validation.data.get('held_out', 0)} held out")
    for note in validation.notes:
        screen.print(f"  {note}", markup=False, soft_wrap=True)
    for warning in validation.warnings:
        screen.print(f"  warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    spec: dict[str, Any] = validation.spec
    for section, fields in spec.items():
        screen.print(f"  {section:9} {json.dumps(fields)}", markup=False, soft_wrap=True)


def _labels(pairs: list[str] | None) -> dict[str, str]:
    from imprint.errors import UsageError

    labels = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--label {pair!r} is not of the form key=value")
        labels[key] = value
    return labels
