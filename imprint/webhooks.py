"""Webhooks from Python: have an address told what happens to jobs. Speaks HTTP only.

hook = client.add_webhook("https://example.org/imprint", events=["job.succeeded", "job.failed"])
print(hook["secret"])                    # shown this once; verify messages with it (Standard Webhooks)
client.test_webhook(hook["id"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from imprint.errors import UsageError
from imprint.records import Json
from imprint.transport import Transport


class WebhookCalls:
    """The part of `imprint.Client` that deals with webhooks. Bodies are those of the API."""

    _transport: Transport
    if TYPE_CHECKING:  # the client's own

        def _pages(self, path: str, params: dict[str, Any], limit: int | None) -> Iterator[Json]: ...

    def add_webhook(self, url: str, events: Sequence[str] | None = None) -> Json:
        """A new webhook; `secret` is in this answer only. events: default all. Raises Rejected."""
        body = {"url": url, **({} if events is None else {"events": list(events)})}
        made: Json = self._transport.request("POST", "/webhooks", json=body).json()
        return made

    def webhooks(self) -> Iterator[Json]:
        """One's own, newest first."""
        return self._pages("/webhooks", {}, None)

    def enable_webhook(self, webhook_id: str, enabled: bool = True) -> Json:
        """Send to it again, what waits at once; or let everything wait."""
        changed = self._transport.request("PATCH", _path(webhook_id), json={"enabled": enabled}, repeatable=True)
        body: Json = changed.json()
        return body

    def delete_webhook(self, webhook_id: str) -> None:
        """With its messages."""
        self._transport.request("DELETE", _path(webhook_id))

    def test_webhook(self, webhook_id: str) -> Json:
        """Send a message that says nothing; `deliveries` tells how it went."""
        body: Json = self._transport.request("POST", f"{_path(webhook_id)}/test").json()
        return body

    def deliveries(self, webhook_id: str, *, limit: int | None = None) -> Iterator[Json]:
        """Its messages, newest first: status, attempts, answer, error, next_at."""
        return self._pages(f"{_path(webhook_id)}/deliveries", {}, limit)


def _path(webhook_id: str) -> str:
    if webhook_id in ("", ".", ".."):
        raise UsageError(f"{webhook_id!r} is not a webhook's id")
    return f"/webhooks/{quote(webhook_id, safe='')}"
