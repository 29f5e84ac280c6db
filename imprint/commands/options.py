"""What the subcommands share: the options that name a server, the consoles, and how an error looks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from imprint import running
from imprint.errors import ImprintError, NotFound, ServiceError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from imprint.client import Client

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="The server's address. Default: IMPRINT_SERVER, a profile, the `imprint up` of this folder, http://127.0.0.1:8000.",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", metavar="KEY", help="The key, if the server asks for one. Default: IMPRINT_API_KEY.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead, for scripts.")]
EncoderName = Annotated[str, typer.Option("--encoder", "-e", help="An encoder's id, a job's id, an alias, or `latest`.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id, as in `imprint jobs`; `latest` is the newest job.")]

ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        help="A server by its name in `imprint profile list`. Default: IMPRINT_PROFILE, then the one in use.",
        show_default=False,
    ),
]

_before_the_command: dict[str, str | None] = {}


def remember(server: str | None, api_key: str | None, profile: str | None = None) -> None:
    """Options given before the subcommand (`imprint --server … jobs`) count like those after it."""
    _before_the_command.update(server=server, api_key=api_key, profile=profile)


def connect(server: str | None) -> Client:
    """A client for the server that is meant: by --server, --profile, IMPRINT_SERVER, IMPRINT_PROFILE, the profile in use, the
    `imprint up` of this folder, in this order. A profile's key is sent to its own server only."""
    from imprint.client import Client
    from imprint.profiles import Profiles

    server = server or _before_the_command.get("server")
    key, name = _before_the_command.get("api_key"), _before_the_command.get("profile")
    if server and name:
        raise UsageError(f"--server {server} and --profile {name} name two servers: give one of them")
    if not name and not server:
        server = os.environ.get("IMPRINT_SERVER")
    if not server:
        known = Profiles()
        if name := name or os.environ.get("IMPRINT_PROFILE") or known.current:
            profile = known.get(name)
            return Client(profile.url, key or profile.api_key)
        if stack := running.find():
            server = stack.address
    return Client(server, key)


def stack_of(client: Client) -> running.Running | None:
    """The `imprint up` on this machine that the client talks to, if it is one that we can see."""
    stack = running.find()
    return stack if stack and stack.address == client.base_url.replace("//localhost:", "//127.0.0.1:") else None


def job_id(client: Client, name: str) -> str:
    """The id of a job named on the command line."""
    if name != "latest":
        return name
    newest = next(iter(client.jobs(limit=1, mine=True)), None)
    if newest is None:
        raise NotFound("there are no jobs yet", status=404, hint="start one with: imprint train digits")
    return newest.id


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def report(error: ImprintError) -> None:
    """An error for a person, on stderr: what was wrong, where, and what to do."""
    from rich.text import Text

    screen = console(stderr=True)
    screen.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
    if error.hint:
        screen.print(Text.assemble(("Hint: ", "bold"), error.hint), soft_wrap=True)
    if isinstance(error, ServiceError) and error.status >= 500 and error.request_id:
        screen.print(Text(f"(request {error.request_id})", style="dim"))
