"""Stored API keys: made, listed, revoked, looked up. Who may call these is the affair of whoever can reach the database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from jobs.access import SCOPES
from jobs.database import Database, connect, migrate
from jobs.errors import Conflict, NotFound
from jobs.ids import new_id
from jobs.models import ApiKey, EndedSession
from jobs.records import KeyRecord
from jobs.rows import when
from jobs.secret import digest, new_secret, shown

USED_EVERY_MS = 60_000  # the time of the last use is written no more often
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Keys:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def create(
        self, name: str, *, owner: str | None = None, scopes: Sequence[str] = ("read", "submit"), seconds: float | None = None
    ) -> tuple[str, KeyRecord]:
        """A new key: its secret, which is never seen again, and its record.

        `owner`: default the key's name; "": what it makes is everybody's. `seconds`: how long it is valid. Raises ValueError
        for what is malformed, Conflict for a name that a valid key has.
        """
        owner = name if owner is None else owner
        for what, text in (("name", name), ("owner", owner)):
            if not NAME.fullmatch(text) and not (what == "owner" and text == ""):
                raise ValueError(f"{what} = {text!r}: use 1 to 64 letters, digits and ._@-, beginning with a letter or digit")
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ValueError(f"scope = {', '.join(unknown) or 'none'}: choose among {', '.join(SCOPES)}")
        if seconds is not None and seconds <= 0:
            raise ValueError(f"a key that is valid for {seconds:g} s has expired already")
        secret = new_secret()
        with self.database.write() as session:
            now = self.database.now_ms(session)
            if session.scalar(select(ApiKey.id).where(ApiKey.name == name, _valid(now))):
                raise Conflict(f"there is a valid key named {name!r}; revoke it first, or choose another name")
            row = ApiKey(
                id=new_id("key"),
                name=name,
                owner=owner,
                scopes=[scope for scope in SCOPES if scope in scopes],
                shown=shown(secret),
                digest=digest(secret),
                created_ms=now,
                expires_ms=None if seconds is None else now + int(1000 * seconds),
            )
            session.add(row)
            session.flush()
            return secret, _record(row)

    def all(self) -> list[KeyRecord]:
        """Every key that there ever was, newest first."""
        with self.database.read() as session:
            return [_record(row) for row in session.scalars(select(ApiKey).order_by(ApiKey.id.desc()))]

    def revoke(self, name: str) -> KeyRecord:
        """End a key, by its id or its name; its row stays, so that events can be understood. Raises NotFound."""
        with self.database.write() as session:
            now = self.database.now_ms(session)
            row = _find(session, name, now)
            if row.revoked_ms is None:
                row.revoked_ms = now
            return _record(row)

    def used(self, key_id: str) -> bool:
        """Note that a key is in use; whether this wrote anything, which it does once a minute at most."""
        with self.database.write() as session:
            now = self.database.now_ms(session)
            stale = or_(ApiKey.used_ms.is_(None), ApiKey.used_ms <= now - USED_EVERY_MS)
            changed = update(ApiKey).where(ApiKey.id == key_id, stale).values(used_ms=now).returning(ApiKey.id)
            return session.execute(changed).first() is not None

    def end_session(self, session_id: str, until: float) -> None:
        """A browser has logged out: its session, which would have lasted `until` (seconds since 1970), is worth nothing now."""
        with self.database.write() as session:
            session.execute(delete(EndedSession).where(EndedSession.until_ms < self.database.now_ms(session)))
            if session.get(EndedSession, session_id) is None:
                session.add(EndedSession(id=session_id, until_ms=int(1000 * until)))

    def ended_sessions(self) -> frozenset[str]:
        """Those that would last still."""
        with self.database.read() as session:
            return frozenset(session.scalars(select(EndedSession.id)))


def any_stored(url: str) -> bool:
    """Whether the database, which is brought up to date for it, has ever had a key. Raises Unavailable."""
    migrate(url)
    database = connect(url)
    try:
        with database.read() as session:
            return bool(session.scalar(select(func.count()).select_from(ApiKey)))
    finally:
        database.engine.dispose()


def _valid(now: int) -> ColumnElement[bool]:
    return ApiKey.revoked_ms.is_(None) & or_(ApiKey.expires_ms.is_(None), ApiKey.expires_ms > now)


def _find(session: Session, name: str, now: int) -> ApiKey:
    row = session.get(ApiKey, name) if name.startswith("key_") else None
    row = row or session.scalar(select(ApiKey).where(ApiKey.name == name, _valid(now)))
    if row is None:
        raise NotFound(f"there is no valid key {name!r}")
    return row


def _record(row: ApiKey) -> KeyRecord:
    def at(milliseconds: int | None) -> datetime | None:
        return None if milliseconds is None else when(milliseconds)

    return KeyRecord(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=tuple(row.scopes),
        shown=row.shown,
        digest=row.digest,
        created_at=when(row.created_ms),
        expires_at=at(row.expires_ms),
        used_at=at(row.used_ms),
        revoked_at=at(row.revoked_ms),
    )
