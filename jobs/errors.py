"""What can go wrong with jobs. No HTTP in it: api/errors.py maps each class to a status.

JobsError
├── NotFound         no such job, encoder, alias or dataset
├── Conflict         the state does not allow it; the message names the state
├── KeyReused        an Idempotency-Key came again with another body
├── NotAllowed       it is seen because it is shared, and belongs to somebody else
├── TooMany          so much waits already that no more is taken
├── NoRoom           an owner's share of the disk is used up
├── Fenced           a later attempt has taken the job over: stop, and write nothing more
├── Unavailable      the database cannot be reached
│   └── Deadlock     it has ended one of two transactions that waited for each other
└── Unusable         the database is damaged, or of a newer version
"""

from __future__ import annotations


class JobsError(Exception):
    """The root: one sentence for the person who asked."""


class NotFound(JobsError):
    """There is no such thing."""


class Conflict(JobsError):
    """The present state does not allow the change."""


class KeyReused(JobsError):
    """The Idempotency-Key belongs to a request with another body."""


class NotAllowed(JobsError):
    """Only its owner may change it."""


class TooMany(JobsError):
    """The limit is reached; the message says which."""


class NoRoom(JobsError):
    """The owner's share of the disk is used up; the message says how much it is."""


class Fenced(JobsError):
    """This attempt is no longer the one that may write."""


class Unavailable(JobsError):
    """The database does not answer."""


class Deadlock(Unavailable):
    """The database ended this transaction so that another one could go on: the same again goes through."""


class Unusable(JobsError):
    """The database is there and must not be worked with; the message says why, and what to do."""
