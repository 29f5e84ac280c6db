"""`imprint webhooks`: have an address told what happens to jobs, and see how that goes."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from imprint.commands.options import AsJson, Server, connect, console

EPILOG = """
[bold]Examples[/bold]

  imprint webhooks add https://example.org/imprint --event job.succeeded --event job.failed

  imprint webhooks test wh_…

  imprint webhooks log wh_…                             [dim]what was sent, and how it went[/dim]
"""
app = typer.Typer(no_args_is_help=True, help="Have an address told what happens to jobs, signed after Standard Webhooks.")
Id = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, as in `imprint webhooks list`.")]
PATIENCE = 15.0  # seconds that `test` waits for the first attempt


@app.command(epilog=EPILOG)
def add(
    url: Annotated[str, typer.Argument(help="Where messages are sent.")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="For example job.succeeded; may be repeated. Default: all.", show_default=False),
    ] = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Add a webhook and print its secret, this once."""
    with connect(server) as client:
        made = client.add_webhook(url, event)
    if as_json:
        print(json.dumps(made))
        return
    print(made["secret"])
    screen = console(stderr=True)
    screen.print(f"{made['id']} is told: {', '.join(made['events'])}.", markup=False, soft_wrap=True)
    screen.print("This is the only time that the secret is shown.", style="dim")


@app.command("list")
def list_webhooks(server: Server = None, as_json: AsJson = False) -> None:
    """List webhooks, newest first."""
    from imprint import tables

    with connect(server) as client:
        found = list(client.webhooks())
    if as_json:
        for each in found:
            print(json.dumps(each))
    elif found:
        console().print(tables.webhooks(found))
    else:
        console().print("no webhooks yet; add one with: imprint webhooks add URL")


@app.command()
def log(
    webhook: Id, limit: Annotated[int, typer.Option(min=1, help="How many.")] = 20, server: Server = None, as_json: AsJson = False
) -> None:
    """What was sent to a webhook, newest first, and how it went."""
    from imprint import tables

    with connect(server) as client:
        found = list(client.deliveries(webhook, limit=limit))
    if as_json:
        for each in found:
            print(json.dumps(each))
    else:
        console().print(tables.deliveries(found))


@app.command()
def test(webhook: Id, server: Server = None, as_json: AsJson = False) -> None:
    """Send a test message and say how it went."""
    from imprint.errors import ImprintError

    with connect(server) as client:
        sent = client.test_webhook(webhook)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            now = next((each for each in client.deliveries(webhook, limit=20) if each["id"] == sent["id"]), sent)
            if now["status"] == "delivered":
                _say(f"delivered: answered {now['answer']}.", now, as_json)
                return
            if now["error"]:
                raise ImprintError(f"not taken: {now['error']}", "it is tried again by itself; see: imprint webhooks log")
            time.sleep(0.2)
    raise ImprintError(f"not sent within {PATIENCE:g} s", "messages are sent by workers: is one up?")


@app.command()
def enable(webhook: Id, server: Server = None, as_json: AsJson = False) -> None:
    """Send to a webhook again, what waits at once."""
    with connect(server) as client:
        client.enable_webhook(webhook)
    _say(f"{webhook} is enabled.", {"id": webhook, "enabled": True}, as_json)


@app.command()
def disable(webhook: Id, server: Server = None, as_json: AsJson = False) -> None:
    """Send nothing to a webhook until it is enabled."""
    with connect(server) as client:
        client.enable_webhook(webhook, False)
    _say(f"{webhook} is disabled.", {"id": webhook, "enabled": False}, as_json)


@app.command()
def delete(webhook: Id, server: Server = None, as_json: AsJson = False) -> None:
    """Delete a webhook and its messages."""
    with connect(server) as client:
        client.delete_webhook(webhook)
    _say(f"{webhook} is deleted.", {"id": webhook, "deleted": True}, as_json)


def _say(text: str, what: dict[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(what))
    else:
        console().print(text, markup=False)
