"""Webhooks: made, listed, ended; and the outbox as couriers use it: claim a message, say how it went.

A webhook is its owner's alone, an admin's view apart: its URL is often a secret in itself. One message at a time is under way to
each: whoever claims one holds the webhook until it is recorded, or until the lease ends; then the same message is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.orm import Session

from jobs.access import USER, Caller
from jobs.database import Database
from jobs.errors import Conflict, NotFound, TooMany
from jobs.ids import new_id
from jobs.models import Delivery, Webhook
from jobs.outbox import TEST, draft, message
from jobs.records import Page
from jobs.rows import when
from jobs.signing import new_signing_secret

MOST = 20  # webhooks of one owner
ATTEMPTS = 10  # of a message, over about a day: after 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, then some six hours
FIRST_MS, FACTOR, LONGEST_MS, JITTER = 5_000, 4, 6 * 3_600_000, 0.2
LONGEST_WAIT = 24 * 3600.0  # seconds that a receiver may ask for
KEPT_MS = 7 * 24 * 3_600_000  # messages that are settled


@dataclass(frozen=True)
class WebhookRecord:
    """A webhook without its secret."""

    id: str
    owner: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    delivered_at: datetime | None
    delivered: int
    failed: int
    disabled_at: datetime | None
    disabled_why: str | None


@dataclass(frozen=True)
class DeliveryRecord:
    """A message and how far it is. `answer`: the HTTP status of the last attempt; `next_at`: of the next, if there is one."""

    id: str
    type: str
    job: str | None
    status: str
    attempts: int
    created_at: datetime
    tried_at: datetime | None
    next_at: datetime | None
    answer: int | None
    error: str | None


@dataclass(frozen=True)
class Sending:
    """The right to send a message; its record names this attempt."""

    id: str
    webhook_id: str
    attempt: int
    url: str
    secret: str = field(repr=False)
    body: str = field(repr=False)


class Webhooks:
    """The two tables, as one caller sees them."""

    def __init__(self, database: Database, caller: Caller = USER) -> None:
        self.database, self.caller = database, caller

    # Owners

    def create(self, url: str, events: Sequence[str]) -> tuple[str, WebhookRecord]:
        """A new webhook: its secret, which is never shown again, and its record. The URL has been checked. Raises TooMany."""
        secret = new_signing_secret()
        with self.database.write() as session:
            mine = select(func.count()).select_from(Webhook).where(Webhook.owner == self.caller.owner)
            if (session.scalar(mine) or 0) >= MOST:
                raise TooMany(f"{MOST} webhooks are the most that one owner may have; delete some")
            row = Webhook(
                id=new_id("wh"),
                owner=self.caller.owner,
                url=url,
                events=list(events),
                secret=secret,
                created_ms=self.database.now_ms(session),
                lease_ms=0,
                delivered=0,
                failed=0,
            )
            session.add(row)
            session.flush()
            return secret, _record(row)

    def list(self, *, limit: int = 20, after: str | None = None) -> Page[WebhookRecord]:
        """Newest first, beginning after the id `after`."""
        query = select(Webhook).order_by(Webhook.id.desc()).limit(limit + 1)
        if not self.caller.admin:
            query = query.where(Webhook.owner == self.caller.owner)
        if after is not None:
            query = query.where(Webhook.id < after)
        with self.database.read() as session:
            found = [_record(row) for row in session.scalars(query)]
        return Page(found[:limit], len(found) > limit)

    def get(self, webhook_id: str) -> WebhookRecord:
        """Raises NotFound."""
        with self.database.read() as session:
            return _record(self._find(session, webhook_id, lock=False))

    def remove(self, webhook_id: str) -> None:
        """With its messages. Raises NotFound."""
        with self.database.write() as session:
            row = self._find(session, webhook_id)
            session.execute(delete(Delivery).where(Delivery.webhook_id == row.id))
            session.delete(row)

    def enable(self, webhook_id: str, enabled: bool) -> WebhookRecord:
        """Let it be sent to again, what waits included; or not. Raises NotFound."""
        with self.database.write() as session:
            row = self._find(session, webhook_id)
            now = self.database.now_ms(session)
            if enabled and row.disabled_ms is not None:
                row.disabled_ms = row.disabled_why = None
                row.lease_ms = 0
                waiting = update(Delivery).where(Delivery.webhook_id == row.id, Delivery.status == "pending")
                session.execute(waiting.values(due_ms=now))
            elif not enabled and row.disabled_ms is None:
                row.disabled_ms, row.disabled_why = now, f"by {self.caller.name}"
            return _record(row)

    def test(self, webhook_id: str) -> DeliveryRecord:
        """A message that says nothing, to see it arrive. Raises NotFound, Conflict when it is disabled."""
        with self.database.write() as session:
            row = self._find(session, webhook_id)
            if row.disabled_ms is not None:
                raise Conflict(f"webhook {webhook_id} is disabled ({row.disabled_why}); enable it first")
            now = self.database.now_ms(session)
            values = draft(row.id, TEST, message(TEST, now, {"webhook": row.id}), now)
            session.execute(insert(Delivery), [values])
            return _delivery(session.get_one(Delivery, values["id"]))

    def deliveries(self, webhook_id: str, *, limit: int = 20, after: str | None = None) -> Page[DeliveryRecord]:
        """Its messages of the last seven days and those that wait, newest first. Raises NotFound."""
        query = select(Delivery).where(Delivery.webhook_id == webhook_id).order_by(Delivery.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(Delivery.id < after)
        with self.database.read() as session:
            self._find(session, webhook_id, lock=False)
            found = [_delivery(row) for row in session.scalars(query)]
        return Page(found[:limit], len(found) > limit)

    def _find(self, session: Session, webhook_id: str, *, lock: bool = True) -> Webhook:
        row = session.get(Webhook, webhook_id, with_for_update=lock or None)
        if row is None or not (self.caller.admin or row.owner == self.caller.owner):
            raise NotFound(f"there is no webhook {webhook_id!r}")
        return row

    # Couriers

    def claim(self, lease_seconds: float) -> Sending | None:
        """Take the message that has been due for longest, of a webhook that nobody else is sending to; or None."""
        with self.database.read() as session:  # looked for often, found seldom: no writer is kept waiting for it
            if session.scalar(self._due(self.database.now_ms(session))) is None:
                return None
        with self.database.write() as session:
            now = self.database.now_ms(session)
            found = session.scalar(self._due(now).with_for_update(skip_locked=True, of=Webhook))
            if found is None:
                return None
            webhook = session.get_one(Webhook, found.webhook_id, populate_existing=True)
            webhook.lease_ms = now + int(1000 * lease_seconds)
            found.attempts += 1
            return Sending(found.id, webhook.id, found.attempts, webhook.url, webhook.secret, found.body)

    def record(self, sending: Sending, *, answer: int | None, error: str | None, wait: float | None = None) -> str | None:
        """Write how an attempt went: `error` None is a success. `wait`: seconds for which the receiver wants to be left alone, by
        this message and all others; a day at most. Returns the message's status now; None if another attempt, or the webhook's
        end, has made this one void."""
        with self.database.write() as session:
            webhook = session.get(Webhook, sending.webhook_id, with_for_update=True)  # first: so does who deletes it
            row = session.get(Delivery, sending.id)
            if row is None or webhook is None or row.attempts != sending.attempt or row.status != "pending":
                return None
            now = self.database.now_ms(session)
            webhook.lease_ms, row.tried_ms, row.answer, row.error = 0, now, answer, error and error[:300]
            if error is None:
                row.status = "delivered"
                webhook.delivered, webhook.delivered_ms = webhook.delivered + 1, now
            elif row.attempts >= ATTEMPTS or answer == 410:
                row.status = "failed"
                webhook.failed += 1
                self._perhaps_disable(webhook, row, now, gone=answer == 410)
            else:
                row.due_ms = now + pause_ms(row.attempts)
            if error is not None and wait:
                self._leave_alone(session, webhook, now + int(1000 * min(wait, LONGEST_WAIT)))
            return row.status

    def clean(self) -> int:
        """Remove messages that have been settled, or have waited for a disabled webhook, for a week; how many those were."""
        with self.database.write() as session:
            before = self.database.now_ms(session) - KEPT_MS
            ended = select(Webhook.id).where(Webhook.disabled_ms.is_not(None))
            old = Delivery.created_ms < before, (Delivery.status != "pending") | Delivery.webhook_id.in_(ended)
            return len(session.scalars(delete(Delivery).where(*old).returning(Delivery.id)).all())

    @staticmethod
    def _leave_alone(session: Session, webhook: Webhook, until: int) -> None:
        """Nothing is sent before; what waits says so. What is due later stays so: a receiver that asks for a second again and
        again must not use all attempts up in ten."""
        webhook.lease_ms = until
        waiting = Delivery.webhook_id == webhook.id, Delivery.status == "pending", Delivery.due_ms < until
        session.flush()
        session.execute(update(Delivery).where(*waiting).values(due_ms=until))

    @staticmethod
    def _due(now: int) -> Select[Any]:
        ready = Delivery.status == "pending", Delivery.due_ms <= now, Webhook.lease_ms <= now, Webhook.disabled_ms.is_(None)
        return select(Delivery).join(Webhook, Webhook.id == Delivery.webhook_id).where(*ready).order_by(Delivery.due_ms).limit(1)

    @staticmethod
    def _perhaps_disable(webhook: Webhook, row: Delivery, now: int, *, gone: bool) -> None:
        """An address that says so is gone; one that took nothing for as long as a message is tried is as good as gone."""
        if gone or (webhook.delivered_ms or 0) < row.created_ms:
            webhook.disabled_ms = now
            why = "it answered 410 Gone" if gone else f"it took nothing in {ATTEMPTS} attempts: {row.error}"
            webhook.disabled_why = why[:300]


def pause_ms(attempts: int) -> int:
    """How long to wait after so many attempts: four times longer each time, up to six hours, give or take a fifth."""
    return int(min(FIRST_MS * FACTOR ** (attempts - 1), LONGEST_MS) * random.uniform(1 - JITTER, 1 + JITTER))


def _record(row: Webhook) -> WebhookRecord:
    return WebhookRecord(
        id=row.id,
        owner=row.owner,
        url=row.url,
        events=tuple(row.events),
        created_at=when(row.created_ms),
        delivered_at=None if row.delivered_ms is None else when(row.delivered_ms),
        delivered=row.delivered,
        failed=row.failed,
        disabled_at=None if row.disabled_ms is None else when(row.disabled_ms),
        disabled_why=row.disabled_why,
    )


def _delivery(row: Delivery) -> DeliveryRecord:
    return DeliveryRecord(
        id=row.id,
        type=row.type,
        job=row.job_id,
        status=row.status,
        attempts=row.attempts,
        created_at=when(row.created_ms),
        tried_at=None if row.tried_ms is None else when(row.tried_ms),
        next_at=when(row.due_ms) if row.status == "pending" else None,
        answer=row.answer,
        error=row.error,
    )
