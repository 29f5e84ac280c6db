"""Whose key a request bears: keys of the settings, which are admins', and stored ones, looked up in memory.

The stored keys are read again every two seconds at most, and at once for a key that is not known, so that a revoked key ends
and a new one begins within moments, in every process. While the database is away, those last read stay in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from api.errors import Problem
from jobs.access import ADMIN, USER, Caller
from jobs.errors import JobsError
from jobs.keys import Keys
from jobs.records import KeyRecord
from jobs.secret import digest, mistyped, same, shown, well_formed

log = logging.getLogger("api")
EVERY = 2.0  # seconds between two readings
UNKNOWN_EVERY = 0.2  # and for a key that is not known
PATIENCE = 1.0  # seconds that a request waits for a reading
USED_EVERY = 60.0  # seconds between two notes of a key's last use


class Keyring:
    """`await caller(header)` says who it is. Belongs to one event loop."""

    def __init__(self, settings: Sequence[str], stored: Keys) -> None:
        """settings: keys of any form, whose owners are admins and own nothing apart."""
        self._settings = [
            (digest(key), Caller(f"IMPRINT_API_KEYS-{at}", scopes=frozenset({ADMIN}), key=f"settings-{at}"))
            for at, key in enumerate(settings, 1)
        ]
        self._store = stored
        self._known: dict[str, list[KeyRecord]] | None = None  # by the beginning of the secret; None: never read
        self._ended: frozenset[str] = frozenset()  # sessions that were logged out
        self._ended_here: set[str] = set()  # of these, what has not been read back: a reading may have begun before
        self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._noted: dict[str, float] = {}
        self._notes: set[asyncio.Task[None]] = set()

    async def caller(self, authorization: str | None) -> Caller:
        """Who bears the key of an `Authorization` header. Where there are no keys at all, anybody. Raises Problem 401, 503."""
        secret = _bearer(authorization)
        if secret is not None:
            given = digest(secret)
            found = [caller for known, caller in self._settings if same(known, given)]  # every one is compared
            if found:
                return found[0]
        await self._fresh(EVERY)
        self._must_be_known()
        if not self._settings and not self._known:
            return USER
        if secret is None:
            raise _unauthorized("is missing" if authorization is None else "is not sent as it should be")
        if mistyped(secret):
            raise _unauthorized("is mistyped: its checksum does not fit")
        record = self._find(secret)
        if record is None and well_formed(secret):
            await self._fresh(UNKNOWN_EVERY)
            record = self._find(secret)
        if record is None:
            raise _unauthorized("is not known")
        if record.state == "revoked":
            raise _unauthorized("has been revoked")
        if record.expires_at is not None and record.state == "expired":
            raise _unauthorized(f"has expired, at {record.expires_at:%Y-%m-%d %H:%M} UTC")
        self._note(record)
        return _caller(record)

    async def by_id(self, key_id: str, session: str) -> tuple[Caller, str] | None:
        """Who bears a key that is valid now, and the key's digest, by its id, as a session names it; None where the session was
        logged out. Raises Problem 503."""
        await self._fresh(EVERY)
        if session in self._ended:
            return None
        for known, caller in self._settings:
            if caller.key == key_id:
                return caller, known
        self._must_be_known()
        for record in (key for keys in (self._known or {}).values() for key in keys):
            if record.id == key_id and record.state == "valid":
                self._note(record)
                return _caller(record), record.digest
        return None

    async def holds(self, caller: Caller) -> bool:
        """Whether a caller who was let in before would be let in still; for answers that go on for hours."""
        await self._fresh(EVERY)
        if caller.session in self._ended:
            return False
        if caller == USER:
            return not self._settings and not self._known
        stored = (key for keys in (self._known or {}).values() for key in keys if key.id == caller.key)
        return any(caller == known for _, known in self._settings) or any(key.state == "valid" for key in stored)

    async def end_session(self, session: str, until: float) -> None:
        """Log a browser out, in this process at once, in all others within EVERY seconds. Raises JobsError."""
        await asyncio.to_thread(self._store.end_session, session, until)
        self._ended_here.add(session)
        self._ended |= {session}

    def _must_be_known(self) -> None:
        if self._known is None:
            raise Problem("unavailable", "The database does not answer; try again in a moment.", headers={"Retry-After": "5"})

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._notes, *filter(None, [self._reading]), return_exceptions=True)

    def _find(self, secret: str) -> KeyRecord | None:
        given = digest(secret)
        return next((key for key in (self._known or {}).get(shown(secret), []) if same(key.digest, given)), None)

    async def _fresh(self, age: float) -> None:
        """Read the keys if they were read longer ago; requests that come meanwhile share the reading."""
        if self._reading is None:
            now = time.monotonic()
            if now - self._tried_at < age:
                return
            self._tried_at = now
            self._reading = asyncio.create_task(self._read(), name="read keys")
        try:
            await asyncio.wait_for(asyncio.shield(self._reading), PATIENCE)
        except TimeoutError:
            log.warning("the keys could not be read within %g s; those read before stay in force", PATIENCE)

    async def _read(self) -> None:
        try:
            known: dict[str, list[KeyRecord]] = {}
            keys, ended = await asyncio.to_thread(lambda: (self._store.all(), self._store.ended_sessions()))
            for key in keys:
                known.setdefault(key.shown, []).append(key)
            self._ended_here -= ended
            self._known, self._ended = known, ended | self._ended_here
        except JobsError as error:
            log.warning("the keys could not be read: %s", error)
        finally:
            self._reading = None

    def _note(self, key: KeyRecord) -> None:
        now = time.monotonic()
        if now - self._noted.get(key.id, float("-inf")) < USED_EVERY:
            return
        self._noted[key.id] = now
        task = asyncio.create_task(self._used(key.id))
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _used(self, key_id: str) -> None:
        try:
            await asyncio.to_thread(self._store.used, key_id)
        except JobsError as error:
            log.warning("the last use of %s could not be noted: %s", key_id, error)


def _caller(record: KeyRecord) -> Caller:
    return Caller(record.name, record.owner, frozenset(record.scopes), record.id)


def _bearer(authorization: str | None) -> str | None:
    scheme, _, given = (authorization or "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" and given.strip() else None


def _unauthorized(what: str) -> Problem:
    detail = f"The API key {what}; send 'Authorization: Bearer <key>'."
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
