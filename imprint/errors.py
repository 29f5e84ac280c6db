"""What can go wrong between a program and the service.

ImprintError                the root: one sentence for a person, and a hint where there is one
├── ConnectionFailed        nothing answered at the server's address
├── UsageError              the caller asked for something that cannot be sent (a missing file, a malformed override)
├── ServiceError            the server answered with a problem: status, title, detail, problems, request_id
│   ├── Rejected            400, 413, 415, 422: what was sent is not right; `problems` says where and what would be
│   ├── NotAllowed          401, 403: an API key is missing or wrong
│   ├── NotFound            404: no such job, encoder or alias
│   ├── Conflict            409: the job is in a state from which this cannot be done
│   └── Unavailable         429, 503, 504: try again later; `retry_after` in seconds, if the server said
├── JobFailed               a job that was waited for ended as failed or cancelled; `job` is its last state
└── StackError              the one-machine stack cannot start or keep running
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imprint.records import Job


class ImprintError(Exception):
    """Anything that went wrong here. `str(error)` is one sentence for a person; `hint` says what to do, or is empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConnectionFailed(ImprintError):
    """Nothing answered at the server's address."""


class UsageError(ImprintError):
    """The caller asked for something that cannot be sent."""


class StackError(ImprintError):
    """The one-machine stack cannot start or keep running."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what was sent."""

    pointer: str
    """JSON pointer into the body, such as /trainer/batch_size; empty for the body as a whole."""
    detail: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.detail}" if self.pointer else self.detail


class ServiceError(ImprintError):
    """The server answered with a problem (RFC 9457)."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        title: str = "",
        problems: Sequence[Problem] = (),
        request_id: str | None = None,
        retry_after: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(detail, hint)
        self.status = status
        self.title = title
        self.detail = detail
        self.problems = tuple(problems)
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        # One problem often is the detail already; several are worth a line each.
        lines = [str(problem) for problem in self.problems if problem.detail not in self.detail]
        return "\n".join([self.detail, *(f"  {line}" for line in lines)])


class Rejected(ServiceError):
    """What was sent is not right."""


class NotAllowed(ServiceError):
    """An API key is missing or wrong."""


class NotFound(ServiceError):
    """No such job, encoder or alias."""


class Conflict(ServiceError):
    """The job is in a state from which this cannot be done."""


class Unavailable(ServiceError):
    """Try again later."""


class JobFailed(ImprintError):
    """A job that was waited for ended as failed or cancelled."""

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.message}" if job.error else ""
        super().__init__(f"job {job.id} {job.status}{reason}", job.error.hint if job.error else "")
        self.job = job


BY_STATUS: dict[int, type[ServiceError]] = {
    400: Rejected,
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    413: Rejected,
    415: Rejected,
    422: Rejected,
    429: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
