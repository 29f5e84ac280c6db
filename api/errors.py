"""The one place where what went wrong becomes an HTTP answer: RFC 9457 problem+json.

Every answer carries `type, title, status, detail, errors[{pointer, detail}], request_id`. `type` is a stable address on the
docs page, to be compared by programs; `detail` says what was wrong, with the value, and what would be right.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from jobs.errors import Conflict, Fenced, JobsError, KeyReused, NoRoom, NotAllowed, NotFound, TooMany, Unavailable
from ssl_core.spec.base import explain

log = logging.getLogger("api")

KINDS: dict[str, tuple[int, str]] = {  # name: (status, title)
    "bad-request": (400, "The request could not be read"),
    "unauthorized": (401, "An API key is needed"),
    "forbidden": (403, "Not allowed"),
    "not-found": (404, "Not found"),
    "method-not-allowed": (405, "This address does not take this method"),
    "not-acceptable": (406, "This form of answer is not offered"),
    "slow": (408, "The request did not arrive in time"),
    "conflict": (409, "Not possible in the present state"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "This form of body is not understood"),
    "validation": (422, "The request is not valid"),
    "busy": (429, "Too much at once"),
    "head-too-large": (431, "The headers are too large"),
    "internal": (500, "Something went wrong here"),
    "unavailable": (503, "Not available right now"),
    "timeout": (504, "It took too long"),
    "disk-full": (507, "There is no room for it"),
}
_OPENAI_CODES = {"not-found": "model_not_found", "unauthorized": "invalid_api_key", "busy": "rate_limit_exceeded"}
_BY_STATUS = {status: name for name, (status, _) in KINDS.items()}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
Errors = Sequence[tuple[str, str]]  # (JSON pointer into the body, sentence)


class Problem(Exception):
    """An answer other than success, raised anywhere below a route."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Errors = (),
        *,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = [*errors]
        self.parameter = parameter
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        return KINDS[self.kind][0]


MOST_ERRORS = 100  # that an answer tells: each is made of something that somebody sent
LONGEST = 2000  # letters of one


def invalid(errors: Errors) -> Problem:
    """422 with every (pointer, sentence), a hundred at most; the detail is the first of them, and how many more there are."""
    told = [(pointer[:LONGEST], detail[:LONGEST]) for pointer, detail in errors[:MOST_ERRORS]]
    first = "; ".join(f"{pointer or 'body'}: {detail}" for pointer, detail in told[:1]) or "the request is not valid"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem("validation", first + more, told)


def encodable(text: str) -> str:
    """The text without the lone surrogates that UTF-8 cannot carry, and without control characters that hide in terminals."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in clean)


def problem_body(request_id: str, problem: Problem) -> dict[str, Any]:
    """The JSON of RFC 9457."""
    status, title = KINDS[problem.kind]
    errors: list[dict[str, str]] = [
        {"pointer": encodable(pointer), "detail": encodable(detail)} for pointer, detail in problem.errors
    ]
    if problem.parameter is not None:
        errors.append({"pointer": "", "parameter": encodable(problem.parameter), "detail": encodable(problem.detail)})
    return {
        "type": f"/docs#{problem.kind}",
        "title": title,
        "status": status,
        "detail": encodable(problem.detail),
        "errors": errors,
        "request_id": request_id,
    }


def openai_body(problem: Problem) -> dict[str, Any]:
    """The JSON that OpenAI's clients read."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(problem.status)
    pointers = [pointer.strip("/").split("/")[0] for pointer, _ in problem.errors if pointer]
    error = {
        "message": encodable(problem.detail),
        "type": kind or ("invalid_request_error" if problem.status < 500 else "server_error"),
        "param": encodable(pointers[0]) if pointers else problem.parameter,
        "code": _OPENAI_CODES.get(problem.kind, problem.kind.replace("-", "_")),
    }
    return {"error": error}


def respond(request_id: str, problem: Problem, path: str) -> Response:
    """The answer itself, with the request's id in header and body; below /v1/ in the form of OpenAI's errors."""
    openai = path.startswith("/v1/")
    return Response(
        orjson.dumps(openai_body(problem) if openai else problem_body(request_id, problem)),
        problem.status,
        media_type="application/json" if openai else "application/problem+json",
        headers={"X-Request-Id": request_id, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **problem.headers},
    )


def request_id(request: Request) -> str:
    """The id that the middleware gave to this request."""
    return str(getattr(request.state, "request_id", ""))


def _from_validation(error: RequestValidationError) -> Problem:
    """FastAPI's own findings: the first part of the place says whether it is the body, a parameter or the path."""
    body: list[tuple[str, str]] = []
    for each in error.errors():
        where, *place = each["loc"]
        pointer, detail = explain(cast(ErrorDetails, {**each, "loc": tuple(place)}))
        if where == "body":
            body.append((pointer, detail))
        elif not body:
            name = str(place[0]) if place else str(where)
            return Problem("validation", f"{where} parameter {name!r}: {detail}", parameter=name)
    return invalid(body)


def _from_http(error: HTTPException) -> Problem:
    """Starlette's own: unknown address, wrong method, unreadable form."""
    kind = _BY_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    detail = str(error.detail)
    if error.status_code == 404:
        detail = "There is nothing at this address; /docs lists every address."
    return Problem(kind, detail, headers=error.headers)


def _routes(app: FastAPI) -> Iterator[BaseRoute]:
    """Those of the rooms, one by one."""
    for each in app.routes:
        room = getattr(each, "original_router", None)
        yield from [each] if room is None else room.routes


def _not_allowed(request: Request) -> Problem:
    """405 with every method of the address: Starlette itself names those of the first route that it finds there.

    Those of a pattern that would match as well are none of it: /datasets/uploads is no dataset to be deleted.
    """
    matching = [route for route in _routes(request.app) if route.matches(request.scope)[0] is not Match.NONE]
    here = [route for route in matching if getattr(route, "path", None) == getattr(matching[0], "path", None)]
    methods = {method for route in here for method in getattr(route, "methods", None) or ()}
    allowed = ", ".join(method for method in METHODS if method in methods)
    return Problem("method-not-allowed", f"Allowed here: {allowed}", headers={"Allow": allowed})


_JOBS_KINDS: dict[type[JobsError], str] = {
    NotFound: "not-found",
    Conflict: "conflict",
    KeyReused: "validation",
    Fenced: "conflict",
    NotAllowed: "forbidden",
    TooMany: "busy",
    NoRoom: "too-large",
}


def _from_jobs(error: JobsError) -> Problem:
    """The error tree of jobs/. Why the database is away is for the log, not for strangers."""
    if isinstance(error, Unavailable):
        log.error("%s", error)
        return Problem("unavailable", "The database does not answer; try again in a moment.", headers={"Retry-After": "5"})
    headers = {"Retry-After": "60"} if isinstance(error, TooMany) else None
    return Problem(_JOBS_KINDS.get(type(error), "conflict"), str(error), headers=headers)


def _answer(request: Request, problem: Problem) -> Response:
    return respond(request_id(request), problem, request.url.path)


def install(app: FastAPI) -> None:
    """Give the application its one error handler for each kind of exception."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return _answer(request, error)

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _answer(request, _from_validation(error))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _answer(request, _not_allowed(request) if error.status_code == 405 else _from_http(error))

    async def on_jobs(request: Request, error: Exception) -> Response:
        assert isinstance(error, JobsError)
        return _answer(request, _from_jobs(error))

    async def on_gone(request: Request, error: Exception) -> Response:
        return _answer(request, Problem("bad-request", "The connection ended before the body did."))

    async def on_anything(request: Request, error: Exception) -> Response:
        log.error("request %s to %s failed", request_id(request), request.url.path, exc_info=error)
        detail = "The fault is ours, not the request's. The log of the service has it under this request's id."
        # Uvicorn ends the connection after an exception; told so, a client does not send its next request into the end.
        return _answer(request, Problem("internal", detail, headers={"Connection": "close"}))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(JobsError, on_jobs)
    app.add_exception_handler(ClientDisconnect, on_gone)
    app.add_exception_handler(Exception, on_anything)
