"""What a key must be allowed for each route: one table, and a rule for what is not in it.

Looked up by the route that has matched, never by the address as it was written.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.errors import Problem
from jobs.access import METRICS, READ, SUBMIT, Caller

NOTHING = ""  # any key will do, or, for what is open, none
OPEN = frozenset({"/livez", "/readyz", "/ui/login", "/ui/logout"})  # answered without a key
_OPEN_BELOW = "/ui/static/"  # what every page is made of, the login too
_PAGES = "/ui/"  # shells without data; what they show they ask of the other routes
_SCOPES: dict[tuple[str, str], str] = {
    ("GET", "/"): NOTHING,
    ("GET", "/docs"): NOTHING,
    ("GET", "/openapi.json"): NOTHING,
    ("GET", "/livez"): NOTHING,
    ("GET", "/readyz"): NOTHING,
    ("GET", "/metrics"): METRICS,
    # These answer a question and change nothing.
    ("POST", "/embed"): READ,
    ("POST", "/v1/embeddings"): READ,
    ("POST", "/encoders/{encoder_id}/search"): READ,
    ("POST", "/preview"): READ,
    ("POST", "/jobs/{job_id}/map/export"): READ,
}
_LOOKING = frozenset({"GET", "HEAD"})


def is_open(path: str) -> bool:
    """Whether an address, as it was written, is answered without a key."""
    return path in OPEN or path.startswith(_OPEN_BELOW)


def scope_of(method: str, path: str) -> str:
    """The scope that a route needs: as the table says; or `read` for what looks, and `submit` for whatever else."""
    if path.startswith(_PAGES):
        return NOTHING
    return _SCOPES.get((method, path), READ if method in _LOOKING else SUBMIT)


def caller_of(request: Request) -> Caller:
    """Who asks, as the middleware has found out."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


async def allowed(request: Request) -> None:
    """Of every route: whether the key may do this. Raises Problem 403."""
    caller = caller_of(request)
    needed = scope_of(request.scope["method"], request.scope["route"].path)
    if needed != NOTHING and not caller.may(needed):
        has = ", ".join(sorted(caller.scopes)) or "none"
        raise Problem("forbidden", f"This needs a key with the scope {needed!r}; the key {caller.name!r} has {has}.")


CallerDep = Annotated[Caller, Depends(caller_of)]
