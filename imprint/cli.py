"""The `imprint` command: what a person types. Talks to the service over HTTP only; `imprint up` starts it.

Nothing heavy is imported here, so that `imprint --help` answers at once.
"""

from __future__ import annotations

import json
import sys

import typer

from imprint.commands import (
    completion,
    datasets,
    encoders,
    finding,
    jobs,
    keys,
    leaving,
    maps,
    measure,
    options,
    preview,
    profile,
    search,
    up,
    webhooks,
)
from imprint.errors import ImprintError
from imprint.exits import status_of
from imprint.version import version as installed

app = typer.Typer(
    name="imprint",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

EPILOG = """
[bold]A first session[/bold], in two terminals:

  imprint up --data ~/Pictures            [dim]start the service; Ctrl-C stops it[/dim]

  imprint train digits --epochs 20        [dim]a bundled dataset, to see it work[/dim]

  imprint train ~/Pictures/cats           [dim]your own, unlabelled; watch it learn[/dim]

  imprint embed ~/Pictures/cats -o cats.npy

`imprint COMMAND --help` has more examples.
"""


@app.callback(epilog=EPILOG)
def root(server: options.Server = None, api_key: options.ApiKey = None, profile: options.ProfileName = None) -> None:
    """Point it at your unlabelled pictures, get an encoder, get its embeddings over HTTP."""
    options.remember(server, api_key, profile)


START, TRAIN, USE = "Start", "Train", "Use"
app.command(rich_help_panel=START, epilog=up.EPILOG)(up.up)
app.add_typer(keys.app, name="keys", rich_help_panel=START)
app.command(rich_help_panel=TRAIN, epilog=jobs.TRAIN_EPILOG)(jobs.train)
app.command(rich_help_panel=TRAIN, epilog=preview.EPILOG)(preview.preview)
app.command("jobs", rich_help_panel=TRAIN, epilog=jobs.JOBS_EPILOG)(jobs.list_jobs)
app.command("job", rich_help_panel=TRAIN)(jobs.show)
app.command(rich_help_panel=TRAIN)(jobs.watch)
app.command(rich_help_panel=TRAIN)(jobs.cancel)
app.command(rich_help_panel=TRAIN)(jobs.pause)
app.command(rich_help_panel=TRAIN)(jobs.resume)
app.command(rich_help_panel=TRAIN)(jobs.logs)
app.add_typer(datasets.app, name="datasets", rich_help_panel=TRAIN)
app.command("encoders", rich_help_panel=USE)(encoders.list_encoders)
app.command(rich_help_panel=USE, epilog=encoders.EMBED_EPILOG)(encoders.embed)
app.command(rich_help_panel=USE)(search.index)
app.command(rich_help_panel=USE, epilog=finding.EPILOG)(finding.search)
app.command(rich_help_panel=USE, epilog=search.REPORT_EPILOG)(search.report)
app.command("map", rich_help_panel=USE, epilog=maps.EPILOG)(maps.make)
app.command("measure", rich_help_panel=USE, epilog=measure.EPILOG)(measure.measure)
app.command("compare", rich_help_panel=USE)(measure.compare)
app.add_typer(webhooks.app, name="webhooks", rich_help_panel=TRAIN)


app.command("export", rich_help_panel=USE, epilog=leaving.EXPORT_EPILOG)(leaving.export)
app.command("card", rich_help_panel=USE)(leaving.card)
app.command("import", rich_help_panel=USE, epilog=leaving.IMPORT_EPILOG)(leaving.import_weights)
app.add_typer(profile.app, name="profile", rich_help_panel=START)
app.command(rich_help_panel=START, epilog=completion.EPILOG)(completion.completion)


@app.command(rich_help_panel=USE)
def version(as_json: options.AsJson = False) -> None:
    """Print the version."""
    print(json.dumps({"version": installed()}) if as_json else installed())


def main() -> None:
    """The console script. Its exit statuses are in `imprint.exits`."""
    completion.prepare()
    try:
        app(prog_name="imprint")
    except ImprintError as error:
        options.report(error)
        sys.exit(status_of(error))
    except BrokenPipeError:  # `imprint jobs | head`
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
