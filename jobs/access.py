"""Who asks, and what they see: the one filter that every query of a caller goes through.

A thing belongs to an owner, or, with the owner "", to everybody. Callers see what is their own, what is everybody's, and
what its owner shares; they change what is their own or everybody's. An admin sees and changes all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select, union_all
from sqlalchemy.orm import with_loader_criteria
from sqlalchemy.sql.base import ExecutableOption

from jobs.errors import NotAllowed
from jobs.models import Alias, Dataset, Encoder, Job

READ, SUBMIT, METRICS, ADMIN = SCOPES = ("read", "submit", "metrics", "admin")
EVERYBODY = ""  # the owner of what belongs to nobody in particular


@dataclass(frozen=True)
class Caller:
    """`name` is what events and logs say; `key` what limits are counted by; `session` the browser's, if one asks."""

    name: str
    owner: str = EVERYBODY
    scopes: frozenset[str] = frozenset()
    key: str = ""
    session: str = field(default="", compare=False)

    @property
    def admin(self) -> bool:
        return ADMIN in self.scopes

    def may(self, scope: str) -> bool:
        """Whether a key of these scopes may do what needs this one."""
        return self.admin or scope in self.scopes

    @property
    def own(self) -> tuple[str, ...]:
        """The owners whose things this caller's names (`latest`, aliases) mean."""
        return tuple(dict.fromkeys((self.owner, EVERYBODY)))

    def controls(self, owner: str) -> bool:
        """Whether this caller may change what belongs to `owner`."""
        return self.admin or owner in self.own


USER = Caller("user", scopes=frozenset({ADMIN}))  # whoever asks where no key is needed; and the service itself


def must_control(caller: Caller, owner: str, what: str) -> None:
    """Raise NotAllowed for somebody else's, which is seen because it is shared."""
    if not caller.controls(owner):
        raise NotAllowed(f"{what} is shared with you and belongs to somebody else, who alone may change it")


@lru_cache(maxsize=4096)
def seen_by(caller: Caller) -> tuple[ExecutableOption, ...]:
    """What is added to every query on behalf of a caller; see `database.Database`."""
    if caller.admin:
        return ()
    return (
        *(with_loader_criteria(row, or_(row.owner.in_(caller.own), row.shared)) for row in (Job, Encoder)),
        *(with_loader_criteria(row, row.owner.in_(caller.own)) for row in (Alias, Dataset)),
    )


def page(row: type[Job] | type[Encoder], caller: Caller, conditions: Sequence[ColumnElement[bool]], most: int) -> Select[Any]:
    """The newest `most` rows that the caller sees and for which the conditions hold, newest first.

    Each way of seeing something has an index that ends in the id; "this or that" has none, and would have every row looked at
    for a caller who sees few of many.
    """
    query = select(row).order_by(row.id.desc()).limit(most)
    if caller.admin:
        return query.where(*conditions)
    ways = [*(row.owner == owner for owner in caller.own), row.shared]
    newest = [select(row.id).where(way, *conditions).order_by(row.id.desc()).limit(most).subquery() for way in ways]
    return query.where(row.id.in_(union_all(*(select(each.c.id) for each in newest))))
