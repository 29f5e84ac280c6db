"""Sends what the outbox holds to webhooks: at least once, signed, four at a time, one at a time to each webhook.

Every worker runs one. Killed between the sending and the record, the message is sent again under the same `webhook-id`.
"""

from __future__ import annotations

import logging
import time

from jobs.addresses import networks
from jobs.settings import Settings
from jobs.signing import headers
from jobs.webhooks import Sending, Webhooks
from worker import outbound
from worker.rounds import Rounds
from worker.telemetry import Telemetry

log = logging.getLogger("worker")

SECONDS = 10.0  # for a webhook to answer
LEASE = 60.0  # seconds; an attempt takes less
SLOTS = 4
SHOWN = 120  # letters of an answer that the log of deliveries shows


class Courier:
    """One attempt at a time per call of `deliver`; `rounds` calls it as often as there is something to send."""

    def __init__(self, webhooks: Webhooks, settings: Settings, telemetry: Telemetry) -> None:
        self.webhooks, self.telemetry = webhooks, telemetry
        self.private = networks(settings.outbound_private)

    def rounds(self, every: float = 1.0) -> Rounds[Sending]:
        """What looks for due messages and delivers them."""
        return Rounds("courier", lambda: self.webhooks.claim(LEASE), self.deliver, slots=SLOTS, every=every)

    def deliver(self, sending: Sending) -> str | None:
        """Send one message and record how it went; returns the message's status now."""
        body = sending.body
        signed = headers(sending.secret, sending.id, int(time.time()), body)
        began, answer, error, wait = time.monotonic(), None, None, None
        try:
            said = outbound.send(
                "POST",
                sending.url,
                {"Content-Type": "application/json", "User-Agent": "Imprint-Webhooks/1", **signed},
                body.encode(),
                private=self.private,
                seconds=SECONDS,
            )
            answer, wait = said.status, said.retry_after
            if not said.ok:
                text = said.body[: 4 * SHOWN].decode("utf-8", "replace")
                error = f"answered {answer}: {''.join(each if each.isprintable() else ' ' for each in text)[:SHOWN]}"
        except outbound.Unsent as unsent:
            error = str(unsent)
        status = self.webhooks.record(sending, answer=answer, error=error, wait=wait)
        self.telemetry.delivered("failed" if error else "delivered", time.monotonic() - began)
        if error:
            log.warning("%s to %s, attempt %d: %s", sending.id, sending.webhook_id, sending.attempt, error)
        return status
