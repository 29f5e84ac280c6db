"""`imprint keys`: who may use the service. Works on the database of its home, so only who can read that makes keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imprint.commands.options import AsJson, console

if TYPE_CHECKING:
    from jobs.keys import Keys
    from jobs.records import KeyRecord

EPILOG = """
[bold]Examples[/bold]

  imprint keys create alice                             [dim]her own jobs and encoders: read and submit[/dim]

  imprint keys create ci --owner alice --scope submit --expires 90d

  imprint keys create dashboard --scope metrics

  imprint keys revoke ci

Clients: IMPRINT_API_KEY=imp_… imprint jobs. From the first key on, the service asks everybody for one.
"""
app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys, on the machine of the service.")
Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="The service's home. Default: IMPRINT_HOME, then that of this folder."),
]
_UNITS = {"h": 3600, "d": 86_400, "w": 604_800}


@app.command(epilog=EPILOG)
def create(
    name: Annotated[str, typer.Argument(help="What events and logs will say; a word of your own.")],
    owner: Annotated[
        str | None,
        typer.Option(help="Whose jobs and encoders it sees and makes. Default: the name. '': everybody's.", show_default=False),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, submit, metrics, admin; may be repeated. Default: read and submit.", show_default=False),
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="For example 12h, 90d or 4w. Default: never.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown this once: only its SHA-256 is stored."""
    from imprint.errors import UsageError
    from jobs.errors import Conflict

    seconds = None if expires is None else _seconds(expires)
    try:
        secret, key = _keys(home).create(name, owner=owner, scopes=scope or ("read", "submit"), seconds=seconds)
    except (ValueError, Conflict) as error:
        raise UsageError(str(error)) from None
    if as_json:
        print(json.dumps({**_told(key), "key": secret}))
        return
    print(secret)
    screen = console(stderr=True)
    whose = f"what {key.owner} owns" if key.owner else "what is everybody's"
    until = f", until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    screen.print(f"{key.name} may {', '.join(key.scopes)}: {whose}{until}.", markup=False, soft_wrap=True)
    screen.print("This is the only time that the key is shown.", style="dim")


@app.command("list")
def list_keys(home: Home = None, as_json: AsJson = False) -> None:
    """List keys, newest first; those that have ended, too."""
    from imprint import tables

    found = _keys(home).all()
    if as_json:
        for key in found:
            print(json.dumps(_told(key)))
    elif found:
        console().print(tables.keys([_told(key) for key in found]))
    else:
        console().print("no keys yet; make one with: imprint keys create NAME")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="KEY", help="Its name or its id, as in `imprint keys list`.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End a key. Running services notice within two seconds."""
    from imprint import errors
    from jobs.errors import NotFound

    try:
        key = _keys(home).revoke(name)
    except NotFound as error:
        raise errors.NotFound(str(error), status=404, hint="see them with: imprint keys list") from None
    if as_json:
        print(json.dumps(_told(key)))
        return
    console().print(f"{key.name} ({key.shown}…) is revoked.", markup=False, soft_wrap=True)


def _keys(home: Path | None) -> Keys:
    """The keys of a home's database, which is made if there is none. Says which on stderr."""
    from imprint import plan, running
    from imprint.errors import ImprintError
    from jobs.database import connect, migrate
    from jobs.errors import JobsError
    from jobs.keys import Keys

    stack = None if home is not None else running.find()
    settings = plan.read_settings(home=home or (Path(stack.home) if stack else None))
    try:
        migrate(settings.database_url)
        if settings.database_url.startswith("sqlite"):
            console(stderr=True).print(f"keys of {settings.home}", style="dim", markup=False, soft_wrap=True)
        return Keys(connect(settings.database_url))
    except (JobsError, OSError) as error:
        raise ImprintError(f"the database of {settings.home} cannot be used: {error}") from None


def _told(key: KeyRecord) -> dict[str, object]:
    fields = {name: getattr(key, name) for name in ("id", "name", "owner", "scopes", "shown", "state")}
    times = {name: getattr(key, name) for name in ("created_at", "expires_at", "used_at", "revoked_at")}
    return {**fields, **{name: at and at.isoformat() for name, at in times.items()}}


def _seconds(text: str) -> float:
    from imprint.errors import UsageError

    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if found is None or not int(found[1]):
        raise UsageError(f"--expires {text!r} is not a time", "a number and h, d or w: 12h, 90d, 4w")
    return float(int(found[1]) * _UNITS[found[2]])
