"""`imprint profile`: several servers, by names of one's own."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from imprint.commands.options import AsJson, console

EPILOG = """
[bold]Examples[/bold]

  imprint profile add lab http://lab:8000           [dim]asks for the key, if it is a terminal; shows it never[/dim]

  imprint profile add ci https://ssl.example.org --key-stdin < key.txt

  imprint profile use lab                           [dim]from now on[/dim]

  imprint --profile ci jobs                         [dim]this once; IMPRINT_PROFILE=ci does it for a shell[/dim]
"""
app = typer.Typer(no_args_is_help=True, help="Keep servers and their keys under names of your own.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="A word of your own.")]


@app.command(epilog=EPILOG)
def add(
    name: Name,
    url: Annotated[str, typer.Argument(metavar="URL", help="The server's address.")],
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read the API key from standard input.")] = False,
    no_key: Annotated[bool, typer.Option("--no-key", help="Ask for no key.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a server, or change the one of this name. The first becomes the one in use."""
    from imprint.profiles import Profile, Profiles

    key = ""
    if key_stdin:
        key = sys.stdin.readline().strip()
    elif not no_key and sys.stdin.isatty():
        key = typer.prompt("API key (empty: none)", default="", hide_input=True, show_default=False, err=True)
    known = Profiles()
    known.put(Profile(name, url.rstrip("/"), key or None))
    known.save()
    _say(name, f"{name}: {url}{', with a key' if key else ''}" + ("; in use" if known.current == name else ""), as_json)


@app.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """List the servers; * marks the one in use."""
    from imprint.profiles import Profiles

    known = Profiles()
    for each in known.profiles.values():
        if as_json:
            facts = {"name": each.name, "url": each.url, "key": each.api_key is not None, "current": each.name == known.current}
            print(json.dumps(facts))
        else:
            print(f"{'*' if each.name == known.current else ' '} {each.name}  {each.url}{'  (key)' if each.api_key else ''}")
    if not known.profiles and not as_json:
        console().print("no profiles yet; add one with: imprint profile add NAME URL")


@app.command()
def use(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which one; none with --none.", show_default=False)] = None,
    none: Annotated[bool, typer.Option("--none", help="No profile: IMPRINT_SERVER, or `imprint up` of the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Choose the server that commands go to when nothing else is said."""
    from imprint.errors import UsageError
    from imprint.profiles import Profiles

    if (name is None) != none:
        raise UsageError("name one profile, or give --none")
    known = Profiles()
    known.current = None if name is None else known.get(name).name
    known.save()
    _say(name, f"in use: {name or 'none'}", as_json)


@app.command()
def remove(name: Name, as_json: AsJson = False) -> None:
    """Forget a server and its key."""
    from imprint.profiles import Profiles

    known = Profiles()
    known.remove(name)
    known.save()
    _say(name, f"{name} is forgotten", as_json)


def _say(name: str | None, line: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": name}))
    else:
        console().print(line, markup=False, soft_wrap=True)
