"""Logs of every process of the service: as text, or one JSON object a line, with whose request, job and attempt a line is about.

    with logs.bound(job=job_id, attempt=2):
        log.info("begins")   # {"at": "…", "level": "info", "logger": "worker", "message": "begins", "job": "job_…", "attempt": 2}

What is bound belongs to the context (a request, a thread's task), not to the process. Passwords and keys are blotted out, whoever
says them: they are known from the settings, and keys of ours by their form.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from jobs.settings import Settings

Format = Literal["json", "text"]
_bound: ContextVar[Mapping[str, Any]] = ContextVar("imprint_log", default={})  # noqa: B039 (never changed in place)
_KEY = re.compile(r"imp_[A-Za-z0-9]{16,}")
_SHORTEST = 4  # characters; to blot out less would blot out words
BLOT = "***"
_NOISY = ("alembic", "celery.worker.strategy", "celery.app.trace")  # a line per message, beside our own


@contextlib.contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Within the block every line of this context has these fields: `request`, `job`, `attempt`."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def about() -> dict[str, Any]:
    """What is bound."""
    return dict(_bound.get())


def set_up(settings: Settings) -> None:
    """Send everything that this process logs to stderr, in the form of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings.log_format, secrets(settings, os.environ)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(os.environ.get("IMPRINT_LOG_LEVEL", "info").upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def formatter(form: Format, hidden: Iterable[str]) -> logging.Formatter:
    """Of a form, blotting out what is hidden."""
    return (_Json if form == "json" else _Text)(hidden)


def secrets(settings: Settings, environ: Mapping[str, str]) -> set[str]:
    """Passwords of the addresses of database, broker and proxies, and the keys of the settings."""
    urls = [settings.database_url, settings.redis_url]
    urls += [value for name, value in environ.items() if name.upper().endswith("_PROXY")]
    found = {password for url in urls if (password := _password(url))} | set(settings.api_keys)
    return {form for secret in found if len(secret) >= _SHORTEST for form in (secret, unquote(secret), quote(secret, safe=""))}


def _password(url: str) -> str | None:
    try:
        return urlsplit(url).password
    except ValueError:
        return None


class _Hiding(logging.Formatter):
    def __init__(self, hidden: Iterable[str], **options: Any) -> None:
        super().__init__(**options)
        longest_first = sorted(filter(None, hidden), key=len, reverse=True)
        self._hidden = re.compile("|".join([*map(re.escape, longest_first), _KEY.pattern]))

    def _blotted(self, text: str) -> str:
        return self._hidden.sub(BLOT, text)


class _Text(_Hiding):
    """For people: the time, the level, who, what, and in brackets whose."""

    def __init__(self, hidden: Iterable[str]) -> None:
        super().__init__(hidden, fmt="%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        said = [f"{name}={value}" for name, value in _fields(record).items() if name != "job" or value not in record.message]
        return super().formatMessage(record) + (f" [{' '.join(said)}]" if said else "")

    def format(self, record: logging.LogRecord) -> str:
        return self._blotted(super().format(record))


class _Json(_Hiding):
    """For programs: one object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        # Blotted out before it is quoted: a quote within a password must not hide it.
        hidden = {name: self._blotted(value) if isinstance(value, str) else value for name, value in line.items()}
        return json.dumps(hidden, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What was bound where the line was said, and what it brings itself (`extra={"about": {…}}`)."""
    own: Mapping[str, Any] = getattr(record, "about", {})
    return {**_bound.get(), **own}
