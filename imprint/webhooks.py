"""Webhooks from Python: have an address told what happens to jobs. Speaks HTTP only.

hook = client.add_webhook("https://example.org/imprint", events=["job.succeeded", "job.failed"])
print(hook["secret"])                    # shown this once; verify messages with it (Standard Webhooks)
client.test_webhook(hook["id"])
"""

from __future__ import annotations

from collections.abc import Sequence

from imprint.flow import Call, Flow, iterate, pages, part, run
from imprint.records import Json
from imprint.results import Results
from imprint.transport import Transport


class WebhookCalls:
    """The part of `imprint.Client` that deals with webhooks. Bodies are those of the API."""

    _transport: Transport

    def add_webhook(self, url: str, events: Sequence[str] | None = None) -> Json:
        """A new webhook; `secret` is in this answer only. events: default all. Raises Rejected."""
        return run(added(url, events), self._transport.performer())

    def webhooks(self) -> Results[Json]:
        """One's own, newest first."""
        return Results(iterate(listed(), self._transport.performer()))

    def enable_webhook(self, webhook_id: str, enabled: bool = True) -> Json:
        """Send to it again, what waits at once; or let everything wait."""
        return run(enable(webhook_id, enabled), self._transport.performer())

    def delete_webhook(self, webhook_id: str) -> None:
        """With its messages."""
        run(deleted(webhook_id), self._transport.performer())

    def test_webhook(self, webhook_id: str) -> Json:
        """Send a message that says nothing; `deliveries` tells how it went."""
        return run(tested(webhook_id), self._transport.performer())

    def deliveries(self, webhook_id: str, *, limit: int | None = None) -> Results[Json]:
        """Its messages, newest first: status, attempts, answer, error, next_at."""
        return Results(iterate(deliveries(webhook_id, limit), self._transport.performer()))


def added(url: str, events: Sequence[str] | None) -> Flow[Json]:
    """See `WebhookCalls.add_webhook`, and so on."""
    answer = yield Call("POST", "/webhooks", json={"url": url, **({} if events is None else {"events": list(events)})})
    made: Json = answer.json()
    return made


def listed() -> Flow[None]:
    return pages("/webhooks", {}, None)


def enable(webhook_id: str, enabled: bool) -> Flow[Json]:
    answer = yield Call("PATCH", f"/webhooks/{part(webhook_id)}", json={"enabled": enabled}, repeatable=True)
    changed: Json = answer.json()
    return changed


def deleted(webhook_id: str) -> Flow[None]:
    yield Call("DELETE", f"/webhooks/{part(webhook_id)}")


def tested(webhook_id: str) -> Flow[Json]:
    answer = yield Call("POST", f"/webhooks/{part(webhook_id)}/test")
    sent: Json = answer.json()
    return sent


def deliveries(webhook_id: str, limit: int | None) -> Flow[None]:
    return pages(f"/webhooks/{part(webhook_id)}/deliveries", {}, limit)
