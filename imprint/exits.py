"""What the command's exit status says, for scripts. docs/cli.md has this table."""

from __future__ import annotations

from imprint.errors import Conflict, ConnectionFailed, ImprintError, NotAllowed, NotFound, Rejected, Unavailable, UsageError

STATUSES: dict[int, str] = {
    0: "done",
    1: "it failed: a job ended as failed or cancelled, `search` found nothing, or what is not among the others",
    2: "asked wrongly: options, files that are not there, or what the server finds not valid (400, 413, 415, 422)",
    3: "not found: no such job, encoder, alias or key (404)",
    4: "not allowed: a key is missing, wrong, or may not do this (401, 403)",
    5: "nobody answers at the server's address, or the connection broke",
    6: "not possible in the present state (409)",
    7: "the server is busy or stopping: try again later (429, 503, 504)",
    130: "interrupted by Ctrl-C",
}
_OF: tuple[tuple[type[ImprintError], int], ...] = (
    (UsageError, 2),
    (Rejected, 2),
    (NotFound, 3),
    (NotAllowed, 4),
    (ConnectionFailed, 5),
    (Conflict, 6),
    (Unavailable, 7),
)


def status_of(error: ImprintError) -> int:
    """The exit status that an error ends the command with."""
    return next((status for kind, status in _OF if isinstance(error, kind)), 1)
